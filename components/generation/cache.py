"""A key-value cache: what a network computed of the tokens that it has read, kept so that it reads each only once.

Rows of different lengths are padded on the left, so that they all end in the same column and go on together.
Shapes: B rows, H heads, T columns read at once, S columns in memory, D width, V vocabulary.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from components.model.gpt import GPT

BLOCK = 64
"""Columns by which the memory grows. Attention reads whole blocks, of which a mask hides what is not in use: a slice
would not be contiguous, which costs more than the columns that are hidden."""


def padded_left(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Return rows of token ids as tokens (B, T) and how many columns pad each (B,), both int64 on the CPU."""
    longest = max(map(len, rows))
    tokens = torch.full((len(rows), longest), pad_id)
    for row, ids in zip(tokens, rows, strict=True):
        row[longest - len(ids) :] = torch.tensor(ids)
    return tokens, torch.tensor([longest - len(ids) for ids in rows])


class CachedGPT:
    """A language model that remembers what it has read of B rows, and reads on where it was."""

    def __init__(self, model: GPT, padding: Tensor | None = None) -> None:
        """`padding` (B,) is how many columns of each row come before its text; None: no row is padded."""
        self.model = model
        self.padding = padding
        self.length = 0
        self._memory = [_Memory() for _ in range(model.transformer.size.layers)]

    @torch.no_grad()  # not inference mode, in which autocast would round the weights anew every turn
    def read(self, tokens: Tensor) -> Tensor:
        """Read the next columns (B, T) of the rows, and return the logits of what follows the last: (B, V), fp32.

        No row may come to more tokens than the context; the caller sees to it.
        """
        start, self.length = self.length, self.length + tokens.shape[1]
        columns = torch.arange(start, self.length, device=tokens.device)
        causal = start == 0 and self.padding is None  # nothing to hide but what is to come: the fast way
        visible = None if causal else self._visible(columns, _capacity(self.length) if start else self.length)
        positions = columns if self.padding is None else (columns - self.padding[:, None]).clamp(min=0)
        hidden = self.model.transformer(tokens, causal, visible, positions, self._memory)
        return F.linear(hidden[:, -1], self.model.head).float()

    @torch.no_grad()
    def keep(self, rows: Sequence[int]) -> None:
        """Forget all rows but these."""
        chosen = torch.tensor(rows, device=self.model.head.device)
        self.padding = None if self.padding is None else self.padding[chosen]
        for memory in self._memory:
            memory.keep(chosen)

    def _visible(self, columns: Tensor, capacity: int) -> Tensor:
        """Return which columns in memory each column that is read sees: (B or 1, T, S).

        Padding sees itself: softmax over nothing would be NaN, which spreads.
        """
        every = torch.arange(capacity, device=columns.device)
        visible = (every <= columns[:, None])[None]
        if self.padding is None:
            return visible
        text = every >= self.padding[:, None]
        return (visible & text[:, None]) | (every == columns[:, None])


class _Memory:
    """Keys and values of one block, (B, H, S, D/H) each, with room for more at the end."""

    def __init__(self) -> None:
        self.length = 0
        self.keys = self.values = torch.empty(0)

    def __call__(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add the next columns. Return all, up to the end of a block; but the first ones as they came."""
        start, self.length = self.length, self.length + keys.shape[2]
        if start == 0:
            self.keys, self.values = _roomy(keys, self.length), _roomy(values, self.length)
            return keys, values
        if self.length > self.keys.shape[2]:
            self.keys, self.values = _roomy(self.keys, self.length), _roomy(self.values, self.length)
        self.keys[:, :, start : self.length] = keys
        self.values[:, :, start : self.length] = values
        return self.keys, self.values

    def keep(self, rows: Tensor) -> None:
        """Forget all rows but these."""
        self.keys, self.values = self.keys[rows], self.values[rows]


def _capacity(length: int) -> int:
    """Return how many columns a memory of `length` has: whole blocks."""
    return -(-length // BLOCK) * BLOCK


def _roomy(columns: Tensor, length: int) -> Tensor:
    """Return a copy with room for `length` columns. What is not in use is zero: hidden, but it must be a number."""
    rows, heads, used, width = columns.shape
    room = columns.new_zeros(rows, heads, _capacity(length), width)
    room[:, :, :used] = columns
    return room
