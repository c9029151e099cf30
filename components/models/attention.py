"""Scaled dot-product attention (Vaswani et al. 2017), in the way that is fastest where it is computed.

Shapes: B batch, H heads, T queries, S keys, d width of a head.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

SHORT = 256
"""Tokens up to which all scores of a row are worth writing down: (B, H, T, T) numbers."""


def attend(query: Tensor, key: Tensor, value: Tensor, causal: bool, visible: Tensor | None, dropout: float) -> Tensor:
    """Return for each query (B, H, T, d) the mean of the values (B, H, S, d), weighted by how well their keys fit.

    Causal, a query sees the keys up to its own; otherwise those that `visible`, broadcast to (B, H, T, S), shows it.
    """
    short = query.shape[2] == key.shape[2] <= SHORT
    if causal and short and not dropout and query.device.type == "cpu" and query.dtype == torch.bfloat16:
        return short_and_causal(query, key, value)
    return F.scaled_dot_product_attention(query, key, value, visible, dropout, is_causal=causal)


def short_and_causal(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return what `attend` does, for T = S, by way of all scores.

    PyTorch's own attention for the CPU never writes the scores down, which saves memory in long rows. In short ones its
    backward pass in bf16 takes ten times as long as these three operations, for which oneDNN has kernels.
    """
    length, width = query.shape[2:]
    hidden = torch.full((length, length), -math.inf, dtype=query.dtype).triu(1)
    batch = query.shape[:2]
    query, key, value = (each.flatten(0, 1) for each in (query, key, value))  # (B * H, T, d)
    scores = torch.baddbmm(hidden, query, key.mT, alpha=1 / math.sqrt(width))
    return torch.bmm(scores.softmax(dim=-1), value).view(*batch, length, width)
