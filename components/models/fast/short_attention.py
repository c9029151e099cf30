"""Causal attention in short rows by way of all scores, in bf16 on a CPU.

PyTorch's own attention for the CPU never writes the scores down, which saves memory in long rows. In short ones its
backward pass in bf16 takes ten times as long as these three operations, for which oneDNN has kernels.
Shapes: B batch, H heads, K key-value heads, T tokens, d width of a head.
"""

import math

import torch
from torch import Tensor

from components.models.fast import uses

SHORT = 256
"""Tokens up to which all scores of a row are worth writing down: (B, H, T, T) numbers."""


def is_short(query: Tensor, key: Tensor) -> bool:
    """Tell whether this is the faster way for queries (B, H, T, d) and keys (B, K, S, d)."""
    same = query.device.type == "cpu" and query.dtype == torch.bfloat16 and query.shape[2] == key.shape[2]
    return same and query.shape[2] <= SHORT and uses("short attention")


def short_and_causal(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return for each query (B, H, T, d) the weighted mean of the values (B, K, T, d) up to its own: (B, H, T, d).

    Heads that share keys and values are rows of one product.
    """
    heads, length, width = query.shape[1:]
    sharing = heads // key.shape[1]
    hidden = torch.full((length, length), -math.inf, dtype=query.dtype).triu(1).repeat(sharing, 1)
    shape = query.shape
    query, key, value = (
        each.reshape(-1, rows, width)
        for each, rows in zip((query, key, value), (sharing * length, length, length), strict=True)
    )
    scores = torch.baddbmm(hidden, query, key.mT, alpha=1 / math.sqrt(width))
    return torch.bmm(scores.softmax(dim=-1), value).view(shape)
