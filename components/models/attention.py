"""Scaled dot-product attention (Vaswani et al. 2017), in the way that is fastest where it is computed.

Shapes: B batch, H heads, K key-value heads, T queries, S keys, d width of a head.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from components.models.fast.short_attention import is_short, short_attention


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    causal: bool,
    visible: Tensor | None,
    dropout: float,
    window: int | None = None,
) -> Tensor:
    """Return for each query (B, H, T, d) the mean of the values (B, K, S, d), weighted by how well their keys fit.

    Causal, a query sees the keys up to its own; otherwise those that `visible`, broadcast to (B, H, T, S), shows it.
    With a `window` it sees of these the ones less than so many places away. Where there are fewer key-value heads than
    heads, H / K heads in a row share one.
    """
    if window is not None and window < key.shape[2]:
        near = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=query.device).triu(1 - window)
        near = near.tril(0 if causal else window - 1)
        causal, visible = False, near if visible is None or causal else near & visible
    if is_short(query, key, visible):
        return short_attention(query, key, value, causal, visible, dropout)
    shared = query.shape[1] != key.shape[1]
    return F.scaled_dot_product_attention(query, key, value, visible, dropout, is_causal=causal, enable_gqa=shared)
