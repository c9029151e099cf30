"""Classification by prompt: the scores are the model's, and labels of any length compete fairly."""

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from components.generation.zero_shot import (
    classify_by_prompt,
    has_room,
    label_tokens,
    prompt_tokens,
    score_continuations,
    try_zero_shot,
)
from components.models.config import GPTSize
from components.models.gpt2 import GPT2
from components.models.language_model import LanguageModel
from components.models.tokenizer import encode, end_of_text, load_tokenizer

ENCODING = load_tokenizer("sample://vocabulary.tiktoken")
STOP = end_of_text(ENCODING)
LABELS = ["ham", "spam", "neither of the two"]


def model(context: int = 96) -> LanguageModel:
    gpt = LanguageModel(GPT2(GPTSize(layers=2, heads=2, width=32, context=context), ENCODING.n_vocab))
    gpt.initialise(5)
    for parameter in gpt.parameters():
        parameter.data *= 8
    return gpt.eval()


def test_scores_are_the_mean_log_likelihood_that_transformers_gives() -> None:
    gpt = model()
    peer = GPT2LMHeadModel(
        GPT2Config(vocab_size=ENCODING.n_vocab, n_positions=96, n_embd=32, n_layer=2, n_head=2)
    ).eval()
    ours = dict(gpt.transformer.named_parameters())
    for name, parameter in peer.transformer.named_parameters():
        transposed = "c_" in name and name.endswith("weight")
        parameter.data = ours[name].data.t().contiguous() if transposed else ours[name].data
    prompt = encode(ENCODING, ["see you at five, it is"])[0]
    continuations = label_tokens(ENCODING, LABELS)
    scores = score_continuations(gpt, prompt, continuations, STOP)
    for score, continuation in zip(scores, continuations, strict=True):
        whole = torch.tensor([prompt + continuation])
        masked = torch.tensor([[-100] * len(prompt) + continuation])
        with torch.no_grad():
            assert torch.isclose(-peer(whole, labels=masked).loss, score, atol=1e-4)


def test_a_label_of_several_tokens_is_scored_whatever_stands_beside_it() -> None:
    gpt, prompt = model(), encode(ENCODING, ["hello"])[0]
    continuations = label_tokens(ENCODING, LABELS)
    together = score_continuations(gpt, prompt, continuations, STOP)
    alone = [score_continuations(gpt, prompt, [continuation], STOP)[0] for continuation in continuations]
    assert torch.allclose(together, torch.stack(alone), atol=1e-5)


def test_a_text_is_cut_and_not_the_question() -> None:
    prompt = prompt_tokens(ENCODING, "win " * 500, ["ham", "spam"], limit=60)
    assert len(prompt) == 60
    assert ENCODING.decode(prompt).endswith("Is this message ham or spam? It is")
    assert classify_by_prompt(model(context=60), ENCODING, ["win " * 500], LABELS)[0] in range(3)


def test_there_is_room_from_the_context_on_in_which_one_token_of_a_text_is_seen() -> None:
    smallest = next(context for context in range(1, 200) if has_room(ENCODING, LABELS, context))
    limit = smallest - max(map(len, label_tokens(ENCODING, LABELS)))
    prompt = prompt_tokens(ENCODING, "win " * 9, LABELS, limit)
    assert len(prompt) == len(prompt_tokens(ENCODING, "", LABELS, 0)) + 1
    assert classify_by_prompt(model(context=smallest), ENCODING, ["win " * 9], LABELS)[0] in range(3)


def test_what_is_reported_adds_up() -> None:
    texts, truths = ["a prize", "see you", "call now", "ok"], ["spam", "ham", "spam", "spam"]
    tried = try_zero_shot(model(), ENCODING, texts, truths, ["ham", "spam"])
    assert [(guess["text"], guess["truth"]) for guess in tried["guesses"]] == list(zip(texts, truths, strict=True))
    assert tried["accuracy"] == sum(guess["truth"] == guess["said"] for guess in tried["guesses"]) / 4
    assert tried["always"] == 0.75
    assert tried["prompt"].startswith("Message: a prize\n")
