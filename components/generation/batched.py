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
    device = model.head.device
    ends = _Ends(encoding, end_of_text(encoding), [stop.encode() for stop in stops])
    rows = [
        _Row(
            list(prompt) or [ends.token],
            model.transformer.size.context,
            config,
            row_generator(config.seed, number, device),
        )
        for prompt, number in zip(prompts, numbers or range(len(prompts)), strict=True)
    ]
    was_training = model.training
    model.eval()
    try:
        _write(model, rows, config, ends, report or _to_nobody)
    finally:
        model.train(was_training)
    return [row.result() for row in rows]


def _write(model: GPT, rows: "list[_Row]", config: GenerationConfig, ends: "_Ends", report: Report) -> None:
    """Let all rows go on to their ends; those that have come to it leave the batch."""
    device = model.head.device
    going = [row for row in rows if row.stopped is None]
    report(len(rows) - len(going), 0)
    if not going:
        return
    tokens, padding = padded_left([row.prompt for row in going], ends.token)
    reader = CachedGPT(model, padding.to(device) if padding.any() else None)
    while True:
        logits = reader.read(tokens.to(device))
        chosen = next_tokens(logits, config, [row.generator for row in going]).tolist()
        for row, token in zip(going, chosen, strict=True):
            row.take(token, ends)
        left = [place for place, row in enumerate(going) if row.stopped is None]
        report(len(going) - len(left), len(going))
        if not left:
            return
        if len(left) < len(going):
            reader.keep(left)
            going = [going[place] for place in left]
        tokens = torch.tensor([row.tokens[-1:] for row in going])


def _to_nobody(ended: int, tokens: int) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class _Ends:
    """What ends a row: the end-of-text token, and markers as bytes."""

    encoding: tiktoken.Encoding
    token: int
    markers: list[bytes]


class _Row:
    """A prompt and what has been written after it."""

    def __init__(self, prompt: list[int], context: int, config: GenerationConfig, generator: torch.Generator) -> None:
        self.prompt = prompt
        self.generator = generator
        self.tokens: list[int] = []
        self.most = min(config.max_new_tokens, context - len(prompt))
        self.stopped: Stopped | None = "no_room" if self.most <= 0 else None
        self._written = bytearray()

    def take(self, token: int, ends: _Ends) -> None:
        """Add a token, and see whether it is the last."""
        if token == ends.token:
            self.stopped = "end"
            return
        before = len(self._written)
        self.tokens.append(token)
        self._written += ends.encoding.decode_single_token_bytes(token)
        # Markers are looked for in bytes: tokens may cut characters, and a marker may span any number of tokens.
        if any(self._written.find(marker, max(before - len(marker) + 1, 0)) >= 0 for marker in ends.markers):
            self.stopped = "marker"
        elif len(self.tokens) == self.most:
            self.stopped = "length"

    def result(self) -> Continuation:
        """Return what has been written, once the row has ended."""
        assert self.stopped
        return Continuation(self.tokens, self.stopped)


def row_generator(seed: int, number: int, device: torch.device) -> torch.Generator:
    """Return the generator of a row's draws: it depends on the seed and the row's number, and on nothing else."""
    return torch.Generator(device).manual_seed(zlib.crc32(f"{seed}/{number}".encode()))
