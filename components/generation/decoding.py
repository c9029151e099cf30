"""Decoding one prompt: a token a turn, and the text that the tokens make."""

import codecs
from collections.abc import Iterable, Iterator, Sequence

import torch

from components.generation.cache import Reader, read_anew
from components.generation.config import GenerationConfig
from components.generation.decoder import Decoder
from components.generation.sampling import next_tokens
from components.models.language_model import LanguageModel
from components.models.tokenizer import Tokenizer


def generate(
    model: LanguageModel, prompt: Sequence[int], config: GenerationConfig, *ends: int, precision: str = "fp32"
) -> Iterator[int]:
    """Yield the tokens that follow a prompt, which is not empty: up to one of `ends`, or `config.max_new_tokens`.

    Each token is read once, in `precision`. Beyond the context the last tokens are seen: each has another position
    every turn, and what was computed of it no longer holds. Same prompt, seed and machine: same tokens.
    """
    device = model.head.device
    # A window that slides hides what a cache holds.
    limit = min(model.transformer.size.context, model.transformer.window or model.transformer.size.context)
    generator = torch.Generator(device).manual_seed(config.seed)
    tokens, reader = list(prompt), None
    for _ in range(config.max_new_tokens):
        if len(tokens) > limit:
            logits = read_anew(model, [tokens]).float()
        elif reader is None:
            reader = Reader(Decoder(model, precision), [tokens])
            logits = reader.logits
        else:
            logits = reader.read(torch.tensor(tokens[-1:], device=device))
        token = int(next_tokens(logits, config, generator))
        if token in ends:
            return
        yield token
        tokens.append(token)


def as_text(encoding: Tokenizer, tokens: Iterable[int]) -> Iterator[str]:
    """Yield the text that each token completes.

    A token of a byte-level vocabulary may end within a character: its bytes are held back until the character is
    whole. What can never become one is shown as U+FFFD; a character that the last token cuts is left out.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for token in tokens:
        yield decoder.decode(encoding.decode_single_token_bytes(token))
