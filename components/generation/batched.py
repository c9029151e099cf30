"""Many prompts of different lengths at once: for each the tokens that follow, and why they end.

Shapes: B rows, V vocabulary.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import tiktoken
import torch

from components.generation.cache import CachedGPT, padded_left
from components.generation.config import GenerationConfig
from components.generation.sampling import next_tokens
from components.model.gpt import GPT
from components.model.tokenizer import end_of_text

Stopped = Literal["end", "marker", "length", "no_room"]
"""Why a continuation ends: the end-of-text token; a text to stop at; as many tokens as were asked for, or the context
is full; or there was no room to begin with, because the prompt alone fills the context."""

Report = Callable[[int, int], None]
"""Told after each turn how many rows have come to their end in it, and how many tokens were generated."""


@dataclass(frozen=True)
class Continuation:
    """What follows a prompt: its tokens without the end-of-text token, and why there are no more."""

    tokens: list[int]
    stopped: Stopped


def continue_prompts(
    model: GPT,
    encoding: tiktoken.Encoding,
    prompts: Sequence[Sequence[int]],
    config: GenerationConfig,
    stops: Sequence[str] = (),
    numbers: Sequence[int] | None = None,
    report: Report | None = None,
) -> list[Continuation]:
    """Return what the model writes after each prompt, all of them read as one batch.

    A prompt and its continuation fit the context. An empty prompt counts as one end-of-text token. Row i is drawn with
    a seed made of `config.seed` and `numbers[i]` (or i), so that it does not depend on its neighbours.
    """
    end, context = end_of_text(encoding), model.transformer.size.context
    device = model.head.device
    markers = [stop.encode() for stop in stops]
    rows = [
        _Row(list(prompt) or [end], context, config, number, device)
        for prompt, number in zip(prompts, numbers or range(len(prompts)), strict=True)
    ]
    going = [row for row in rows if row.stopped is None]
    if report:
        report(len(rows) - len(going), 0)
    if going:
        tokens, padding = padded_left([row.prompt for row in going], end)
        reader = CachedGPT(model, padding.to(device) if padding.any() else None)
        logits = reader.read(tokens.to(device))
    while going:
        chosen = next_tokens(logits, config, [row.generator for row in going]).tolist()
        for row, token in zip(going, chosen, strict=True):
            row.take(token, encoding, end, markers)
        left = [index for index, row in enumerate(going) if row.stopped is None]
        if report:
            report(len(going) - len(left), len(going))
        if left and len(left) < len(going):
            reader.keep(left)
        going = [going[index] for index in left]
        if going:
            logits = reader.read(torch.tensor([[row.tokens[-1]] for row in going], device=device))
    return [row.result() for row in rows]


class _Row:
    """A prompt and what has been written after it."""

    def __init__(
        self, prompt: list[int], context: int, config: GenerationConfig, number: int, device: torch.device
    ) -> None:
        self.prompt = prompt
        self.tokens: list[int] = []
        self.most = min(config.max_new_tokens, context - len(prompt))
        self.stopped: Stopped | None = "no_room" if self.most <= 0 else None
        self.generator = row_generator(config.seed, number, device)
        self._written = bytearray()

    def take(self, token: int, encoding: tiktoken.Encoding, end: int, markers: Sequence[bytes]) -> None:
        """Add a token, and see whether it is the last."""
        if token == end:
            self.stopped = "end"
            return
        self.tokens.append(token)
        piece = encoding.decode_single_token_bytes(token)
        before = len(self._written)
        self._written += piece
        # Markers are looked for in bytes: tokens may cut characters, and a marker may span any number of tokens.
        if any(self._written.find(marker, max(before - len(marker) + 1, 0)) >= 0 for marker in markers):
            self.stopped = "marker"
        elif len(self.tokens) == self.most:
            self.stopped = "length"

    def result(self) -> Continuation:
        """Return what has been written."""
        assert self.stopped is not None
        return Continuation(self.tokens, self.stopped)


def row_generator(seed: int, number: int, device: torch.device) -> torch.Generator:
    """Return the generator of a row's draws: it depends on the seed and the row's number, and on nothing else."""
    return torch.Generator(device).manual_seed(zlib.crc32(f"{seed}/{number}".encode()))
