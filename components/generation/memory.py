"""Keys and values of one layer, for rows that begin alike and go on each by itself.

What all rows begin with stands here once, and attention to it is one product for all rows (Juravsky et al., "Hydragen:
High-Throughput LLM Inference with Shared Prefixes", 2024). Prompts written by one template begin alike: with Alpaca's
23 tokens, of about 44 in all. The rest stands in blocks of columns, so that nothing is copied when more are needed
(after Kwon et al., "Efficient Memory Management for Large Language Model Serving with PagedAttention", 2023).
Shapes: B rows, H heads, P tokens that all rows share, T columns read at once, S columns of the rows' own, D width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

STEP, BLOCK = 32, 64
"""Columns by which the last block grows, until it is as wide as a block. Attention reads blocks as a whole, hiding what
is not in use: a slice would not be contiguous, and multiplying it takes eight times as long."""


class Memory:
    """Keys and values of one layer: (H, P, D/H) of what rows share, (B, H, S, D/H) in blocks of what is their own.

    Its methods add those of tokens that are read, and return what these tokens see; queries, keys and values are
    (B, H, T, D/H) each, and so is what they return.
    """

    def __init__(self, rows: int, heads: int, width: int, columns: int, like: Tensor) -> None:
        """Make room for `columns` of each row, `width` numbers a head of the type and on the device of `like`."""
        room = (rows, heads, whole_steps(columns), width)
        self.keys = [like.new_empty(heads, 0, width), like.new_zeros(room)]
        self.values = [like.new_empty(heads, 0, width), like.new_zeros(room)]

    def add_shared(self, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Read what all rows begin with, as a batch of one."""
        self.keys[0], self.values[0] = keys[0].contiguous(), values[0].contiguous()
        return F.scaled_dot_product_attention(query, keys, values, is_causal=True)

    def add_rows(
        self, rows: slice, columns: slice, visible: Tensor, query: Tensor, keys: Tensor, values: Tensor
    ) -> Tensor:
        """Read the rest of some of the rows into the first columns; it sees what is shared, and `visible` (B, T, T)."""
        shared = self.keys[0].shape[1]
        self.keys[1][rows, :, columns] = keys
        self.values[1][rows, :, columns] = values
        keys = torch.cat([self.keys[0].expand(len(keys), -1, -1, -1), keys], dim=2)
        values = torch.cat([self.values[0].expand(len(values), -1, -1, -1), values], dim=2)
        return F.scaled_dot_product_attention(query, keys, values, F.pad(visible, (shared, 0), value=True)[:, None])

    def add_turn(self, column: int, hiding: Tensor, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Read one more token of every row into a column of the last block, counted from its end: one of `STEP`.

        `hiding` (B, 1, P + S) is what is added to the score of a column: 0, or -inf. With one query a row, plain
        products are faster than fused attention: three times on a CPU in bf16.
        """
        if column == -STEP:
            self._grow()
        self.keys[-1][:, :, column] = keys[:, :, 0]
        self.values[-1][:, :, column] = values[:, :, 0]
        query = query[:, :, 0] * query.shape[-1] ** -0.5
        scores = torch.cat([_times(query, block.mT) for block in self.keys], dim=2) + hiding
        weights = scores.softmax(dim=-1).split_with_sizes([block.shape[-2] for block in self.keys], dim=2)
        seen = [_times(share, block) for share, block in zip(weights, self.values, strict=True)]
        return torch.stack(seen).sum(0)[:, :, None]

    def _grow(self) -> None:
        """Make room for more columns. They are zero: hidden until they are used, but they must be numbers."""
        for blocks in (self.keys, self.values):
            if blocks[-1].shape[2] < BLOCK:
                blocks[-1] = F.pad(blocks[-1], (0, 0, 0, STEP))
            else:
                blocks.append(torch.zeros_like(blocks[-1][:, :, :STEP]))

    def keep(self, rows: Tensor) -> None:
        """Forget all rows but these."""
        for blocks in (self.keys, self.values):
            blocks[1:] = [block[rows] for block in blocks[1:]]


def whole_steps(columns: int) -> int:
    """Return how many columns there is room for where there must be room for so many."""
    return -(-columns // STEP) * STEP


def _times(rows: Tensor, block: Tensor) -> Tensor:
    """Multiply (B, H, n) by (H, n, m), which is the same for all rows, or by (B, H, n, m): (B, H, m)."""
    if block.dim() == 3:
        return (rows.transpose(0, 1) @ block).transpose(0, 1)
    return torch.bmm(rows.flatten(0, 1)[:, None], block.flatten(0, 1)).view(*rows.shape[:2], -1)
