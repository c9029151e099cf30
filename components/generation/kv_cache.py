"""Keys and values of one layer, for rows that begin alike and go on each by itself.

What all rows begin with stands here once, and attention to it is one product for all rows (Juravsky et al., "Hydragen:
High-Throughput LLM Inference with Shared Prefixes", 2024). Prompts written by one template begin alike: with Alpaca's
23 tokens, of about 44 in all. The rest stands in blocks of columns, so that nothing is copied when more are needed
(after Kwon et al., "Efficient Memory Management for Large Language Model Serving with PagedAttention", 2023).

With one query a row, attention is as fast as memory is read. On a CPU products of a row and a matrix read it at half of
the speed of an embedding bag, which is the same sum: of the rows of a table, each with its weight. So a block of keys
that is full is turned round, and from then on its scores are a bag as well.
Where several heads share keys and values, these stand here once, and stay in the processor's cache from one head to the
next.
Shapes: B rows, H heads, K key-value heads, G = H / K heads that share one, P tokens that all rows share, T columns read
at once, S columns of the rows' own, d width of a head.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from components.models.fast import uses

STEP, BLOCK = 32, 64
"""Columns by which the last block grows, until it is as wide as a block. Attention reads blocks as a whole, hiding what
is not in use: a slice would not be contiguous, and multiplying it takes eight times as long."""


class KVCache:
    """Keys and values of one layer.

    Values are (K, P, d) of what rows share, and (B, K, S, d) in blocks of what is their own. Keys are (K, d, P) and
    (B, K, d, S), turned round; those of the last block, `newest`, are (B, K, S, d) as they come.

    Its methods add keys and values (B, K, T, d) of tokens that are read, and return what the queries (B, H, T, d) of
    these tokens see: (B, H, T, d).
    """

    def __init__(self, rows: int, heads: int, width: int, columns: int, like: Tensor) -> None:
        """Make room for `columns` of each row, `width` numbers a head of the type and on the device of `like`."""
        room = (rows, heads, whole_steps(columns), width)
        self.keys, self.newest = [like.new_empty(heads, width, 0)], like.new_zeros(room)
        self.values = [like.new_empty(heads, 0, width), like.new_zeros(room)]

    def add_shared(self, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Read what all rows begin with, as a batch of one."""
        self.keys[0], self.values[0] = keys[0].mT.contiguous(), values[0].contiguous()
        return _attend(query, keys, values, None)

    def add_rows(
        self, rows: slice, columns: slice, visible: Tensor, query: Tensor, keys: Tensor, values: Tensor
    ) -> Tensor:
        """Read the rest of some of the rows into the first columns; it sees what is shared, and `visible` (B, T, T)."""
        shared = self.keys[0].shape[2]
        self.newest[rows, :, columns] = keys
        self.values[1][rows, :, columns] = values
        keys = torch.cat([self.keys[0].mT.expand(len(keys), -1, -1, -1), keys], dim=2)
        values = torch.cat([self.values[0].expand(len(values), -1, -1, -1), values], dim=2)
        visible = F.pad(visible, (shared, 0), value=True)[:, None]
        return _attend(query, keys, values, visible)

    def add_turn(self, column: int, hiding: Tensor, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Read one more token of every row into a column of the last block, counted from its end: one of `STEP`.

        `hiding` (B, 1, P + S) is what is added to the score of a column: 0, or -inf. Fused attention is not made for
        one query a row: on a CPU in bf16 it takes seven times as long as plain products.
        """
        if column == -STEP:
            self._grow()
        self.newest[:, :, column] = keys[:, :, 0]
        self.values[-1][:, :, column] = values[:, :, 0]
        query = query[:, :, 0] * query.shape[-1] ** -0.5
        scores = torch.cat([_times(query, block) for block in (*self.keys, self.newest.mT)], dim=2) + hiding
        weights = scores.softmax(dim=-1).split_with_sizes([block.shape[-2] for block in self.values], dim=2)
        seen = [_times(share, block) for share, block in zip(weights, self.values, strict=True)]
        return torch.stack(seen).sum(0)[:, :, None]

    def _grow(self) -> None:
        """Make room for more columns. They are zero: hidden until they are used, but they must be numbers."""
        if self.newest.shape[2] < BLOCK:
            self.newest, self.values[-1] = (F.pad(block, (0, 0, 0, STEP)) for block in (self.newest, self.values[-1]))
        else:
            self.keys.append(self.newest.mT.contiguous())
            self.newest = torch.zeros_like(self.newest[:, :, :STEP])
            self.values.append(torch.zeros_like(self.newest))

    def keep(self, rows: Tensor) -> None:
        """Forget all rows but these."""
        self.newest = self.newest[rows]
        for blocks in (self.keys, self.values):
            blocks[1:] = [block[rows] for block in blocks[1:]]

    def join(self, columns: int, kept: tuple[Tensor, int], other: "KVCache", other_free: int) -> None:
        """Forget all rows but some, and hold those of another cache behind them; neither has columns that rows share.

        The last `columns` in use are kept, and stand in one block; before what a cache has fewer of there are zeros.

        Args:
            columns: as many as the longest row has tokens.
            kept: which rows stay, and how many columns at the end are not in use.
            other: the other cache.
            other_free: how many columns at its end are not in use.
        """
        rows, free = kept
        room = (len(rows) + len(other.newest), self.newest.shape[1], whole_steps(columns), self.newest.shape[3])
        keys, values = self.newest.new_zeros(room), self.newest.new_zeros(room)
        for cache, first, chosen, unused in ((self, 0, rows, free), (other, len(rows), None, other_free)):
            place = slice(first, first + len(cache.newest if chosen is None else chosen))
            turned_back = [*(block.mT for block in cache.keys[1:]), cache.newest]
            _copy_last(turned_back, chosen, unused, keys[place, :, :columns])
            _copy_last(cache.values[1:], chosen, unused, values[place, :, :columns])
        self.keys, self.newest = self.keys[:1], keys
        self.values = [self.values[0], values]


def _copy_last(blocks: Sequence[Tensor], rows: Tensor | None, free: int, target: Tensor) -> None:
    """Copy the columns in use of some rows of blocks (B, K, ., d) so that the last is the last of `target`."""
    end = target.shape[2] + free
    for block in reversed(blocks):
        start = end - block.shape[2]
        first, last = max(start, 0), min(end, target.shape[2])
        if first < last:
            part = block[:, :, first - start : last - start]
            target[:, :, first:last] = part if rows is None else part.index_select(0, rows)
        end = start


def whole_steps(columns: int) -> int:
    """Return how many columns there is room for where there must be room for so many."""
    return -(-columns // STEP) * STEP


def _attend(query: Tensor, keys: Tensor, values: Tensor, visible: Tensor | None) -> Tensor:
    """Return what queries (B, H, T, d) see of keys (B, K, S, d): what is `visible`, or all up to their own."""
    shared = query.shape[1] != keys.shape[1]
    return F.scaled_dot_product_attention(query, keys, values, visible, is_causal=visible is None, enable_gqa=shared)


def _times(rows: Tensor, block: Tensor) -> Tensor:
    """Multiply (B, H, n) by (K, n, m), which is the same for all rows, or by (B, K, n, m): (B, H, m)."""
    heads = block.shape[-3]
    grouped = rows.view(len(rows), heads, rows.shape[1] // heads, rows.shape[2])  # (B, K, G, n)
    if block.dim() == 3:
        product = grouped.transpose(0, 1).flatten(1, 2) @ block  # (K, B * G, m)
        return product.view(*grouped.transpose(0, 1).shape[:3], block.shape[-1]).transpose(0, 1).flatten(1, 2)
    if block.is_cpu and block.is_contiguous() and uses("embedding bags"):
        weights, table = grouped.flatten(0, 2), block.flatten(0, 2)
        bags = F.embedding_bag(_numbers(grouped.shape), table, mode="sum", per_sample_weights=weights)
        return bags.view(*rows.shape[:2], -1)
    return torch.bmm(grouped.flatten(0, 1), block.flatten(0, 1)).view(*rows.shape[:2], -1)


@lru_cache(maxsize=8)
def _numbers(shape: torch.Size) -> Tensor:
    """Return which rows of a table of B * K * n are in which bag: (B * K * G, n) for a shape (B, K, G, n)."""
    rows, heads, _, count = shape
    return torch.arange(rows * heads * count).view(rows, heads, 1, count).expand(shape).flatten(0, 2)
