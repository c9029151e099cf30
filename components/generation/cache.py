"""A language model that reads rows of tokens, each token once: a key-value cache keeps what was computed of them.

What all rows begin with is read once for all. The rest of the rows, of different lengths, is padded on the left, so
that they all end in the same column and go on together.
Shapes: B rows, H heads, P tokens that all rows share, T columns read at once, S columns in the cache, D width,
V vocabulary.
"""

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from components.core.process_memory import give_freed_back
from components.generation.decoder import Decoder
from components.generation.kv_cache import STEP
from components.models.language_model import LanguageModel
from components.models.padding import pad

CHUNK = 32
"""Rows of which the prompts are read at once: enough to keep a processor busy, few enough for its caches."""

NEVER = float("-inf")
"""What is added to the score of a column that is hidden."""


def shared_length(rows: Sequence[list[int]]) -> int:
    """Return how many tokens all rows begin with, of which at least one of each row is left to be its own."""
    first, last = min(rows), max(rows)  # in the order of their tokens, so that all share what these two do
    alike = [one == other for one, other in zip(first, last, strict=False)]
    same = alike.index(False) if False in alike else len(alike)
    return min(same, min(map(len, rows)) - 1)


class Reader:
    """A language model that has read B rows of tokens, and reads on, a token of each row a turn."""

    @torch.inference_mode()
    def __init__(self, decoder: Decoder, rows: Sequence[list[int]], share: bool = True) -> None:
        """Read the rows, none of them empty or longer than the context. `logits` (B, V) are of what follows.

        Rows that others are to `join` later do not `share` what they begin with.
        """
        self.decoder = decoder
        shared = shared_length(rows) if share else 0
        tokens, lengths = (each.to(decoder.device) for each in pad([row[shared:] for row in rows], 0, left=True))
        own = tokens.shape[1]
        padding = own - lengths
        self.lengths = shared + lengths
        self.caches = [decoder.cache(len(rows), own) for _ in range(decoder.size.layers)]
        self._free, self._hiding = 0, self._hide(shared, own, padding)
        if shared:
            begun, positions = torch.tensor([rows[0][:shared]]), torch.arange(shared)[None]
            attends = [cache.add_shared for cache in self.caches]
            decoder.hidden(begun.to(decoder.device), positions.to(decoder.device), attends)
        chunks = [slice(start, start + CHUNK) for start in range(0, len(rows), CHUNK)]
        last = [self._read_rows(chunk, tokens[chunk], padding[chunk], shared) for chunk in chunks]
        self.logits = decoder.logits(torch.cat(last))

    @torch.inference_mode()
    def read(self, tokens: Tensor) -> Tensor:
        """Read the next token (B,) of each row, and return the logits of what follows it: (B, V).

        A row that has more tokens than the context gets logits that mean nothing.
        """
        if not self._free:
            self._free = STEP
            give_freed_back()  # tables that have grown are of no size that was freed
            self._hiding = F.pad(self._hiding, (0, STEP), value=NEVER)
        column = -self._free
        self._hiding[:, column] = 0
        attends = [partial(cache.add_turn, column, self._hiding) for cache in self.caches]
        positions = self.lengths.clamp(max=self.decoder.size.context - 1)
        hidden = self.decoder.hidden(tokens[:, None], positions[:, None], attends)
        self._free, self.lengths = self._free - 1, self.lengths + 1
        self.logits = self.decoder.logits(hidden[:, 0])
        return self.logits

    @torch.inference_mode()
    def keep(self, rows: Sequence[int]) -> None:
        """Forget all rows but these."""
        chosen = torch.tensor(rows, device=self.decoder.device)
        self.lengths, self._hiding = self.lengths[chosen], self._hiding[chosen]
        for cache in self.caches:
            cache.keep(chosen)

    @torch.inference_mode()
    def join(self, rows: Sequence[int], other: "Reader") -> None:
        """Forget all rows but these, and go on with those of another reader behind them; neither's share anything.

        All end in the same column again. Columns that only rows saw which are gone are let go.
        """
        kept = torch.tensor(rows, device=self.decoder.device)
        self.lengths = torch.cat([self.lengths[kept], other.lengths])
        columns = int(self.lengths.max())
        for cache, more in zip(self.caches, other.caches, strict=True):
            cache.join(columns, (kept, self._free), more, other._free)
        self._free, self._hiding = 0, self._hide(0, columns, columns - self.lengths)
        self.logits = torch.cat([self.logits[kept], other.logits])

    def _read_rows(self, rows: slice, tokens: Tensor, padding: Tensor, shared: int) -> Tensor:
        """Read the rest of some rows, and return what the last block says of the last token of each: (b, D)."""
        first = int(padding.min())  # all of these may be shorter than others
        columns = torch.arange(first, tokens.shape[1], device=tokens.device)
        positions = shared + (columns - padding[:, None]).clamp(min=0)
        text = columns >= padding[:, None]
        # Padding sees itself: softmax over nothing would be NaN, which spreads.
        visible = ((columns <= columns[:, None]) & text[:, None]) | (columns == columns[:, None])
        attends = [partial(cache.add_rows, rows, slice(first, tokens.shape[1]), visible) for cache in self.caches]
        return self.decoder.hidden(tokens[:, first:], positions, attends)[:, -1]

    def _hide(self, shared: int, own: int, padding: Tensor) -> Tensor:
        """Return what is added to scores: -inf for padding, (B, P + S)."""
        columns = torch.arange(-shared, own, device=padding.device)
        seen = (columns < 0) | (columns >= padding[:, None])
        hiding = torch.zeros(seen.shape, dtype=self.decoder.type, device=padding.device)
        return hiding.masked_fill(~seen, NEVER)


class PlainReader:
    """Does what `Reader` does by the network as it is: every row is read anew for each token that follows."""

    def __init__(self, decoder: Decoder, rows: Sequence[list[int]]) -> None:
        """Read the rows, none of them empty or longer than the context. `logits` (B, V) are of what follows."""
        self.model, self.type = decoder.model, decoder.type
        self.rows = rows
        self.logits = self._read()

    def read(self, tokens: Tensor) -> Tensor:
        """Read the next token (B,) of each row, and return the logits of what follows it: (B, V)."""
        self.rows = [[*row, token] for row, token in zip(self.rows, tokens.tolist(), strict=True)]
        self.logits = self._read()
        return self.logits

    def keep(self, rows: Sequence[int]) -> None:
        """Forget all rows but these."""
        self.rows = [self.rows[row] for row in rows]

    def _read(self) -> Tensor:
        device = self.model.head.device
        with torch.autocast(device.type, self.type, enabled=self.type != torch.float32):
            return read_anew(self.model, self.rows)


@torch.inference_mode()
def read_anew(model: LanguageModel, rows: Sequence[Sequence[int]]) -> Tensor:
    """Return the logits (B, V) of what follows each row; of one beyond the context, the last tokens count."""
    context, device = model.transformer.size.context, model.head.device
    tokens, lengths = pad([row[-context:] for row in rows], 0)
    hidden = model.hidden(tokens.to(device))
    # Not the model's `forward`, whose logits of all positions take B x T x V numbers.
    return F.linear(hidden[torch.arange(len(tokens)), lengths - 1], model.head)
