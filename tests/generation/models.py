"""Small networks with random weights that say this and that, and the uncached loop as the oracle of what they say."""

from collections.abc import Callable, Sequence

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from components.generation.cache import read_anew
from components.models.config import GPTSize
from components.models.gpt2 import GPT2
from components.models.language_model import LanguageModel
from components.models.tokenizer import end_of_text, load_tokenizer

WORDS = "sample://vocabulary.tiktoken"
ENCODING = load_tokenizer(WORDS)
END = end_of_text(ENCODING)
LIKE = 1e-4
"""Logits nearer to each other than this count as equal."""


def network(context: int = 48, tied: bool = True, seed: int = 5) -> LanguageModel:
    size = GPTSize(layers=2, heads=2, width=32, context=context)
    gpt = LanguageModel(GPT2(size, ENCODING.n_vocab), tie_embeddings=tied)
    gpt.initialise(seed)
    for parameter in gpt.parameters():
        if parameter.dim() == 2:
            parameter.data *= 12  # as it is drawn, a network says the same token for ever
    return gpt.eval()


def uncached(gpt: LanguageModel) -> Callable[[torch.Tensor], torch.Tensor]:
    """From all tokens so far (B, T), read anew, to the logits of the next one (B, V)."""
    return lambda tokens: read_anew(gpt, tokens.tolist()).float()


def greedy(gpt: LanguageModel, prompt: Sequence[int], most: int) -> list[int]:
    """What the uncached loop writes after a prompt, up to the end-of-text token, also beyond the context."""
    tokens = list(prompt)
    for _ in range(most):
        token = int(uncached(gpt)(torch.tensor([tokens])).argmax())
        if token == END:
            break
        tokens.append(token)
    return tokens[len(prompt) :]


def alone(gpt: LanguageModel, prompt: Sequence[int], most: int) -> list[int]:
    """What the uncached loop writes after a prompt, up to the end-of-text token or the end of the context."""
    prompt = list(prompt) or [END]
    return greedy(gpt, prompt, min(most, gpt.transformer.size.context - len(prompt)))


def assert_alike(gpt: LanguageModel, prompt: Sequence[int], found: list[int], expected: list[int]) -> None:
    """Both are the same, up to where two tokens are equally likely."""
    for place, (one, other) in enumerate(zip([*found, END], [*expected, END], strict=False)):
        if one != other:
            logits = uncached(gpt)(torch.tensor([[*(list(prompt) or [END]), *expected[:place]]]))[0]
            assert abs(float(logits[one] - logits[other])) < LIKE
            return
    assert len(found) == len(expected)


def peer(tied: bool = True) -> GPT2LMHeadModel:
    """A small GPT-2 of transformers with random weights."""
    torch.manual_seed(11)
    config = GPT2Config(
        vocab_size=ENCODING.n_vocab, n_positions=48, n_embd=32, n_layer=3, n_head=4, initializer_range=0.3,
        tie_word_embeddings=tied, bos_token_id=END, eos_token_id=END, pad_token_id=END,
    )  # fmt: skip
    return GPT2LMHeadModel(config).eval()
