"""Attention in short rows by way of all scores, in bf16 on a CPU.

PyTorch's own attention for the CPU never writes the scores down, which saves memory in long rows. In short ones its
backward pass in bf16 takes ten times as long as these three operations, for which oneDNN has kernels.
Shapes: B batch, H heads, K key-value heads, T tokens, d width of a head.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from components.models.fast import uses

SHORT = 256
"""Tokens up to which all scores of a row are worth writing down: (B, H, T, T) numbers."""


def is_short(query: Tensor, key: Tensor, visible: Tensor | None) -> bool:
    """Tell whether this is the faster way for queries (B, H, T, d) and keys (B, K, S, d), all of which see the same."""
    same = query.device.type == "cpu" and query.dtype == torch.bfloat16 and query.shape[2] == key.shape[2]
    alike = visible is None or visible.shape[:3] == (len(query), 1, 1)
    return same and alike and query.shape[2] <= SHORT and uses("short attention")


def short_attention(
    query: Tensor, key: Tensor, value: Tensor, causal: bool, visible: Tensor | None, dropout: float
) -> Tensor:
    """Return for each query (B, H, T, d) the weighted mean of the values (B, K, T, d) that it sees: (B, H, T, d).

    Causal, these are the ones up to its own, otherwise those that are `visible` (B, 1, 1, T), if not all. Heads that
    share keys and values are rows of one product.
    """
    heads, length, width = query.shape[1:]
    sharing = heads // key.shape[1]
    hidden = query.new_zeros(1)
    if causal:
        hidden = torch.full((length, length), -math.inf, dtype=query.dtype).triu(1).repeat(sharing, 1)
    elif visible is not None:
        hidden = hidden.masked_fill(~visible, -math.inf).expand(-1, key.shape[1], 1, -1).flatten(0, 1)
    shape = query.shape
    query, key, value = (
        each.reshape(-1, rows, width)
        for each, rows in zip((query, key, value), (sharing * length, length, length), strict=True)
    )
    scores = torch.baddbmm(hidden, query, key.mT, alpha=1 / math.sqrt(width))
    return torch.bmm(F.dropout(scores.softmax(dim=-1), dropout), value).view(shape)
