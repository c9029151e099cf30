"""Small networks with random weights that say this and that, and the uncached loop as the oracle of what they say."""

from collections.abc import Sequence

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from components.generation.config import GenerationConfig
from components.generation.decoding import generate, uncached
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


def alone(gpt: LanguageModel, prompt: Sequence[int], most: int) -> list[int]:
    """What the uncached loop writes after a prompt, up to the end-of-text token or the end of the context."""
    prompt = list(prompt) or [END]
    room = min(most, gpt.transformer.size.context - len(prompt))
    if room <= 0:
        return []
    turns = generate(uncached(gpt), torch.tensor([prompt]), GenerationConfig(max_new_tokens=room), END)
    tokens = [int(turn) for turn in turns]
    return tokens[: tokens.index(END)] if END in tokens else tokens


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
