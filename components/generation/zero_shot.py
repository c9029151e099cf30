"""Classifying with a language model that nobody has fine-tuned: the label that it would rather go on with.

Brown et al., "Language Models are Few-Shot Learners", 2020, section 2. A GPT-2 is hardly better than chance at it; it
shows that weights were read and what they know, not what fine-tuning will reach.
Shapes: C labels, T tokens, D width, V vocabulary.
"""

from collections.abc import Sequence
from operator import eq

import torch
import torch.nn.functional as F
from torch import Tensor

from components.core.records import Facts
from components.generation.config import GenerationConfig
from components.generation.decoding import as_text, generate
from components.models.language_model import LanguageModel
from components.models.padding import pad
from components.models.tokenizer import Tokenizer, encode, end_of_text, ends_of_text

BEFORE, AFTER = "Message: ", "\nIs this message {labels}? It is"

SHOWN_TOKENS = 12
"""Tokens of the continuation that is shown."""


def try_zero_shot(
    model: LanguageModel, encoding: Tokenizer, texts: list[str], truths: list[str], labels: Sequence[str]
) -> Facts:
    """Ask the model for the label of each text; there must be one text at least, and `has_room` for the question.

    Returns `guesses` (of a `text`, what is the `truth` and what it `said`), the `accuracy`, the share that has `always`
    the commonest label, and of the first text the `prompt` and a `continuation`, likeliest token by likeliest token.
    """
    predicted = [labels[position] for position in classify_by_prompt(model, encoding, texts, labels)]
    guesses = zip(texts, truths, predicted, strict=True)
    prompt = prompt_tokens(encoding, texts[0], labels, model.transformer.size.context)
    continuation = generate(model, prompt, GenerationConfig(max_new_tokens=SHOWN_TOKENS), *ends_of_text(encoding))
    return {
        "guesses": [{"text": text, "truth": truth, "said": guess} for text, truth, guess in guesses],
        "accuracy": sum(map(eq, truths, predicted)) / len(texts),
        "always": max(truths.count(label) for label in labels) / len(texts),
        # A message that is too long is cut, perhaps within a character.
        "prompt": b"".join(map(encoding.decode_single_token_bytes, prompt)).decode("utf-8", "ignore"),
        "continuation": "".join(as_text(encoding, continuation)),
    }


def prompt_tokens(encoding: Tokenizer, text: str, labels: Sequence[str], limit: int) -> list[int]:
    """Return a prompt that shows a text and names the labels; the text is cut so that there are at most `limit`."""
    named = " or ".join([", ".join(labels[:-1]), labels[-1]])
    before, message, after = encode(encoding, [BEFORE, text, AFTER.format(labels=named)])
    return before + message[: max(limit - len(before) - len(after), 0)] + after


def has_room(encoding: Tokenizer, labels: Sequence[str], context: int) -> bool:
    """Return whether a context holds the question, one token of a text, and the longest label."""
    question = len(prompt_tokens(encoding, "", labels, limit=0))
    return question + 1 + max(map(len, label_tokens(encoding, labels))) <= context


def label_tokens(encoding: Tokenizer, labels: Sequence[str]) -> list[list[int]]:
    """Return what would follow the prompt for each label."""
    return encode(encoding, [f" {label}" for label in labels])


@torch.inference_mode()
def score_continuations(model: LanguageModel, prompt: list[int], continuations: list[list[int]], pad_id: int) -> Tensor:
    """Return the mean log-likelihood of the tokens of each continuation after the prompt: (C), fp32 on the CPU.

    The mean, not the sum, so that a label is not the less likely for having more tokens.
    """
    rows = [prompt + continuation for continuation in continuations]
    tokens, _ = pad(rows, pad_id)
    hidden = model.hidden(tokens.to(model.head.device))
    scores = []
    for row, continuation in enumerate(continuations):
        start = len(prompt) - 1  # the position that says the first token of the continuation
        logits = F.linear(hidden[row, start : start + len(continuation)], model.head).float()
        wanted = torch.tensor(continuation, device=logits.device)
        scores.append(-F.cross_entropy(logits, wanted).cpu())
    return torch.stack(scores)


def classify_by_prompt(
    model: LanguageModel, encoding: Tokenizer, texts: Sequence[str], labels: Sequence[str]
) -> list[int]:
    """Return for each text the position of the label that the model finds likeliest after the prompt."""
    continuations = label_tokens(encoding, labels)
    limit = model.transformer.size.context - max(map(len, continuations))
    stop = end_of_text(encoding)
    return [
        int(score_continuations(model, prompt_tokens(encoding, text, labels, limit), continuations, stop).argmax())
        for text in texts
    ]
