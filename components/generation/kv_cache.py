"""Keys and values of one layer, for rows that begin alike and go on each by itself.

What all rows begin with stands here once, and attention to it is one product for all rows (Juravsky et al., "Hydragen:
High-Throughput LLM Inference with Shared Prefixes", 2024). Prompts written by one template begin alike: with Alpaca's
23 tokens, of about 44 in all.

With one query a row, attention is as fast as memory is read. On a CPU products of a row and a matrix read it at half of
the speed of an embedding bag, which is the same sum: of the rows of a table, each with its weight. So keys are turned
round, and their scores are a bag as well: all but those of the newest columns, which are turned together, `STEP` at a
time, since one column of such a table lies in as many places as it has numbers.
Where several heads share keys and values, these stand here once, and stay in the processor's cache from one head to the
next. Everything is sorted by those heads first, so that few of the small operations between have to copy anything.
Shapes: B rows, H heads, K key-value heads, G = H / K heads that share one, P tokens that all rows share, T columns read
at once, S columns of the rows' own, N of them in `newest`, d width of a head.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from components.models.fast import uses

STEP = 32
"""Columns by which a cache grows. Attention reads all that there are, hiding what is not in use."""


class KVCache:
    """Keys and values of one layer.

    Those that rows share are `shared_keys` (K, d, P) and `shared_values` (K, P, d). Of the rows' own, `values` are
    (K, B, S, d), and `keys` (K, B, d, S - N), turned round; the last N are `newest` (K, B, N, d), as they come.

    Its methods add keys and values (B, K, T, d) of tokens that are read, and return what the queries (B, H, T, d) of
    these tokens see: (B, H, T, d).
    """

    def __init__(self, rows: int, heads: int, width: int, columns: int, like: Tensor) -> None:
        """Make room for `columns` of each row, `width` numbers a head of the type and on the device of `like`."""
        self.shared_keys, self.shared_values = like.new_empty(heads, width, 0), like.new_empty(heads, 0, width)
        self.keys, self.newest = like.new_zeros(heads, rows, width, columns), like.new_empty(heads, rows, 0, width)
        self.values = like.new_zeros(heads, rows, columns, width)

    def add_shared(self, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Read what all rows begin with, as a batch of one."""
        self.shared_keys, self.shared_values = keys[0].mT.contiguous(), values[0].contiguous()
        return _attend(query, keys, values, None)

    def add_rows(
        self, rows: slice, columns: slice, visible: Tensor, query: Tensor, keys: Tensor, values: Tensor
    ) -> Tensor:
        """Read the rest of some of the rows into the first columns; it sees what is shared, and `visible` (B, T, T)."""
        self.keys[:, rows, :, columns] = keys.permute(1, 0, 3, 2)
        self.values[:, rows, columns] = values.transpose(0, 1)
        keys = torch.cat([self.shared_keys.mT.expand(len(keys), -1, -1, -1), keys], dim=2)
        values = torch.cat([self.shared_values.expand(len(values), -1, -1, -1), values], dim=2)
        visible = F.pad(visible, (self.shared_keys.shape[2], 0), value=True)[:, None]
        return _attend(query, keys, values, visible)

    def add_turn(self, column: int, hiding: Tensor, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Read one more token of every row into a column, counted from the end: one of `STEP`.

        `hiding` (B, P + S) is what is added to the score of a column: 0, or -inf. Fused attention is not made for
        one query a row: on a CPU in bf16 it takes seven times as long as plain products.
        """
        if column == -STEP:
            self._grow()
        self.newest[:, :, column] = keys[:, :, 0].transpose(0, 1)
        self.values[:, :, column] = values[:, :, 0].transpose(0, 1)
        heads, rows, _, width = self.values.shape
        group = query.shape[1] // heads
        grouped = query.view(rows, heads, group, width).transpose(0, 1).flatten(0, 1)  # (K * B, G, d)
        scores = [grouped.reshape(heads, -1, width) @ self.shared_keys]
        scores += [_times(grouped, self.keys.flatten(0, 1)), torch.bmm(grouped, self.newest.flatten(0, 1).mT)]
        scored = torch.cat([part.view(heads, rows, group, part.shape[-1]) for part in scores], dim=3)
        weights = torch.add(hiding[:, None], scored, alpha=width**-0.5).softmax(dim=-1)
        shared, own = weights.split_with_sizes([self.shared_values.shape[1], self.values.shape[2]], dim=3)
        seen = _times(own.flatten(0, 1), self.values.flatten(0, 1))
        seen = torch.baddbmm(seen.view(heads, -1, width), shared.flatten(1, 2), self.shared_values)
        return seen.view(heads, rows, group, width).transpose(0, 1).flatten(1, 2)[:, :, None]

    def _grow(self) -> None:
        """Turn the newest keys, and make room for more. They are zero: hidden until used, but they must be numbers."""
        if self.newest.shape[2]:
            self.keys = torch.cat([self.keys, self.newest.mT], dim=3)
        self.newest = self.newest.new_zeros(*self.newest.shape[:2], STEP, self.newest.shape[3])
        self.values = F.pad(self.values, (0, 0, 0, STEP))

    def keep(self, rows: Tensor) -> None:
        """Forget all rows but these."""
        self.keys, self.newest, self.values = (each[:, rows] for each in (self.keys, self.newest, self.values))

    def join(self, columns: int, kept: tuple[Tensor, int], other: "KVCache", other_free: int) -> None:
        """Forget all rows but some, and hold those of another cache behind them; neither has columns that rows share.

        The last `columns` in use are kept, all of them turned; before what a cache has fewer of there are zeros.

        Args:
            columns: as many as the longest row has tokens.
            kept: which rows stay, and how many columns at the end are not in use.
            other: the other cache.
            other_free: how many columns at its end are not in use.
        """
        rows, free = kept
        self.keep(rows)
        both = [self._last(columns, free), other._last(columns, other_free)]
        self.keys, self.values = (torch.cat(parts, dim=1) for parts in zip(*both, strict=True))
        self.newest = self.newest.new_empty(*self.values.shape[:2], 0, self.values.shape[3])

    def _last(self, columns: int, free: int) -> tuple[Tensor, Tensor]:
        """Return the last columns in use of keys, turned round, and of values."""
        keys, used = torch.cat([self.keys, self.newest.mT], dim=3), self.values.shape[2] - free
        first = max(used - columns, 0)
        before = columns - (used - first)
        keys, values = keys[..., first:used], self.values[:, :, first:used]
        return F.pad(keys, (before, 0)), F.pad(values, (0, 0, before, 0))


def whole_steps(columns: int) -> int:
    """Return how many columns there is room for where there must be room for so many."""
    return -(-columns // STEP) * STEP


def _attend(query: Tensor, keys: Tensor, values: Tensor, visible: Tensor | None) -> Tensor:
    """Return what queries (B, H, T, d) see of keys (B, K, S, d): what is `visible`, or all up to their own."""
    shared = query.shape[1] != keys.shape[1]
    return F.scaled_dot_product_attention(query, keys, values, visible, is_causal=visible is None, enable_gqa=shared)


def _times(rows: Tensor, tables: Tensor) -> Tensor:
    """Multiply (N, G, n) by (N, n, m): (N, G, m)."""
    if not (tables.is_cpu and uses("embedding bags")):
        return torch.bmm(rows, tables)
    numbers = _numbers(rows.shape)
    bags = F.embedding_bag(numbers, tables.flatten(0, 1), mode="sum", per_sample_weights=rows.reshape(numbers.shape))
    return bags.view(*rows.shape[:2], -1)


@lru_cache(maxsize=8)
def _numbers(shape: torch.Size) -> Tensor:
    """Return which rows of N tables of n rows are in which bag: (N * G, n) for a shape (N, G, n)."""
    tables, _, count = shape
    return torch.arange(tables * count).view(tables, 1, count).expand(shape).flatten(0, 1)
