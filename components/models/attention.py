"""Scaled dot-product attention (Vaswani et al. 2017), in the way that is fastest where it is computed.

PyTorch's own attention for the CPU never writes the scores down, which saves memory in long rows. In short ones its
backward pass in bf16 takes ten times as long as three operations on all scores, for which oneDNN has kernels.
Shapes: B batch, H heads, K key-value heads, T queries, S keys, d width of a head.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from components.models.fast import uses

SHORT = 256
"""Tokens up to which all scores of a row are worth writing down: (B, H, T, T) numbers."""


def attend(query: Tensor, key: Tensor, value: Tensor, causal: bool, visible: Tensor | None, dropout: float) -> Tensor:
    """Return for each query (B, H, T, d) the mean of the values (B, K, S, d), weighted by how well their keys fit.

    Causal, a query sees the keys up to its own; otherwise those that `visible`, broadcast to (B, H, T, S), shows it.
    Where there are fewer key-value heads than heads, H / K heads in a row share one.
    """
    if causal and not dropout and _is_short(query, key) and uses("short attention"):
        return short_and_causal(query, key, value)
    shared = query.shape[1] != key.shape[1]
    return F.scaled_dot_product_attention(query, key, value, visible, dropout, is_causal=causal, enable_gqa=shared)


def _is_short(query: Tensor, key: Tensor) -> bool:
    on_cpu_in_bf16 = query.device.type == "cpu" and query.dtype == torch.bfloat16
    return on_cpu_in_bf16 and query.shape == key.shape and query.shape[2] <= SHORT


def short_and_causal(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return for each query the weighted mean of the values up to its own, (B, H, T, d) all."""
    length, width = query.shape[2:]
    hidden = torch.full((length, length), -math.inf, dtype=query.dtype).triu(1)
    batch = query.shape[:2]
    query, key, value = (each.flatten(0, 1) for each in (query, key, value))  # (B * H, T, d)
    scores = torch.baddbmm(hidden, query, key.mT, alpha=1 / math.sqrt(width))
    return torch.bmm(scores.softmax(dim=-1), value).view(*batch, length, width)
