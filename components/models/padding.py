"""Rows of different lengths as one tensor."""

from collections.abc import Sequence

import torch
from torch import Tensor


def cut(tokens: list[int], limit: int | None, closing: int = 0) -> list[int]:
    """Return a row of at most `limit` tokens, the last `closing` of which stay the last."""
    if limit is None or len(tokens) <= limit or not closing:
        return tokens[:limit]
    return [*tokens[: max(limit - closing, 0)], *tokens[-closing:]][:limit]


def pad(
    rows: Sequence[Sequence[int]], pad_id: int, length: int | None = None, left: bool = False
) -> tuple[Tensor, Tensor]:
    """Return rows of token ids as tokens (B, T) and lengths (B,), both int64 on the CPU.

    T is `length`, or the longest row's. Rows are padded on the right, or on the `left`, where they all end in one
    column. A row without tokens counts as one `pad_id`.

    Raises:
        ValueError: if a row is longer than `length`.
    """
    rows = [row or [pad_id] for row in rows]
    longest = max(map(len, rows))
    if length is not None and longest > length:
        raise ValueError(f"a row of {longest} tokens cannot be padded to {length}")
    tokens = torch.full((len(rows), length or longest), pad_id)
    for row, ids in zip(tokens, rows, strict=True):
        row[len(row) - len(ids) if left else 0 :][: len(ids)] = torch.tensor(ids)
    return tokens, torch.tensor([len(row) for row in rows])
