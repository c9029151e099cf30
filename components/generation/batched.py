"""Many prompts of different lengths at once: for each the tokens that follow, and why they end.

Shapes: B rows, V vocabulary.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from components.generation.cache import PlainReader, Reader
from components.generation.config import GenerationConfig
from components.generation.decoder import Decoder
from components.generation.sampling import next_tokens
from components.models.fast import fast_paths, uses
from components.models.memory import freed_memory_kept
from components.models.tokenizer import Tokenizer, ends_of_text

Stopped = Literal["end", "marker", "length", "no_room"]
"""Why a continuation ends: the end-of-text token; a text to stop at; as many tokens as were asked for, or the context
is full; or there was no room to begin with, because the prompt alone fills the context."""

Report = Callable[[int, int], None]
"""Told after each turn how many rows have come to their end in it, and how many tokens were generated."""

WORTH_KEEPING = 7 / 8
"""Share of the rows in a batch that have to be left for those that have ended to stay in it. To let one go, all that is
remembered of the others is copied, which takes about as long as a turn."""


def continue_prompts(
    decoder: Decoder,
    encoding: Tokenizer,
    prompts: Sequence[Sequence[int]],
    config: GenerationConfig,
    stops: Sequence[str] = (),
    numbers: Sequence[int] | None = None,
    report: Report | None = None,
) -> "list[Row]":
    """Return what the model writes after each prompt, all of them read as one batch; every row has `stopped`.

    A prompt and its continuation fit the context. An empty prompt counts as one end-of-text token. Row i is drawn with
    a seed made of `config.seed` and `numbers[i]` (or i), so that it does not depend on its neighbours.
    """
    ends = Ends(encoding, ends_of_text(encoding), [stop.encode() for stop in stops])
    rows = [
        Row(
            list(prompt) or [ends.tokens[0]],
            decoder.size.context,
            config,
            row_generator(config.seed, number, decoder.device),
        )
        for prompt, number in zip(prompts, numbers or range(len(prompts)), strict=True)
    ]
    with fast_paths(config.fast), freed_memory_kept():
        _write(decoder, rows, config, ends, report or (lambda _ended, _tokens: None))
    return rows


def _write(decoder: Decoder, rows: "list[Row]", config: GenerationConfig, ends: "Ends", report: Report) -> None:
    """Let all rows go on to their ends; those that have come to it leave the batch, several at a time."""
    read = [row for row in rows if row.stopped is None]
    report(len(rows) - len(read), 0)
    if not read:
        return
    longest = max(len(row.prompt) + row.most for row in read)
    cached = uses("key-value cache") and decoder.sees_all(longest)
    reader = (Reader if cached else PlainReader)(decoder, [row.prompt for row in read])
    going = list(range(len(read)))  # places of the rows that have not ended
    while True:
        logits = reader.logits if len(going) == len(read) else reader.logits[going]
        chosen = next_tokens(logits, config, [read[place].generator for place in going]).tolist()
        for place, token in zip(going, chosen, strict=True):
            read[place].take(token, ends)
        left = [place for place in going if read[place].stopped is None]
        report(len(going) - len(left), len(going))
        if not left:
            return
        going = left
        if len(going) <= WORTH_KEEPING * len(read):
            reader.keep(going)
            read = [read[place] for place in going]
            going = list(range(len(read)))
        reader.read(torch.tensor([row.last for row in read], device=decoder.device))


@dataclass(frozen=True)
class Ends:
    """What ends a row: the tokens that end a text, and markers as bytes."""

    encoding: Tokenizer
    tokens: tuple[int, ...]
    markers: list[bytes]


class Row:
    """A prompt and what has been written after it: `tokens`, without that of the end, and why there are no more."""

    def __init__(self, prompt: list[int], context: int, config: GenerationConfig, generator: torch.Generator) -> None:
        self.prompt = prompt
        self.generator = generator
        self.tokens: list[int] = []
        self.most = min(config.max_new_tokens, context - len(prompt))
        self.stopped: Stopped | None = "no_room" if self.most <= 0 else None
        self._written = bytearray()

    def take(self, token: int, ends: Ends) -> None:
        """Add a token, and see whether it is the last."""
        if token in ends.tokens:
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

    @property
    def last(self) -> int:
        """The token that was written last; once the row has ended, any."""
        return self.tokens[-1] if self.tokens else 0


def row_generator(seed: int, number: int, device: torch.device) -> torch.Generator:
    """Return the generator of a row's draws: it depends on the seed and the row's number, and on nothing else."""
    return torch.Generator(device).manual_seed(zlib.crc32(f"{seed}/{number}".encode()))
