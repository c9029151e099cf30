"""What a block of GPT-2 says at one position of each text, without keys, values or queries of the others. Exact.

Of n, the normalised input without the norm's gain g and shift s, attention at position p makes
    query_p . key_t = query_p . W_k (g n_t + s) + ... = (g W_k' query_p) . n_t + what is the same for every t,
which softmax does not see, and
    sum_t a_t value_t = W_v (g sum_t a_t n_t + s) + b_v,  because the weights a_t add up to 1.
So one query is projected back through W_k, and one average through W_v: T times less than projecting every n_t.
All that trains gets its gradient, but for the bias of the keys: that is 0. A block that turns keys by their positions,
or has another norm, cannot be folded so.
Shapes: B batch, T tokens, D width, H heads.
"""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from components.models.gpt2 import GPT2Block


def fold_at(block: "GPT2Block", x: Tensor, place: Tensor, seen: Tensor) -> Tensor:
    """Return what a block without dropout makes of position `place` (B,) of x (B, T, D), which sees `seen` (B, T)."""
    normal = F.layer_norm(x, x.shape[-1:], eps=block.ln_1.eps)
    texts = torch.arange(len(x), device=x.device)
    here = x[texts, place].float() + _attend(block, normal, normal[texts, place], seen)  # (B, D)
    out: Tensor = here + block.feed(block.ln_2(here))
    return out


def _attend(block: "GPT2Block", normal: Tensor, asking: Tensor, seen: Tensor) -> Tensor:
    """Return what attention reads from `normal` (B, T, D) where `asking` (B, D) asks: (B, D)."""
    gain, shift = block.ln_1.weight, block.ln_1.bias
    attention, heads = block.attn, block.heads
    to_query, to_key, to_value = attention.c_attn.weight.view(3, heads, -1, len(gain)).unbind()  # (H, D/H, D) each
    query_bias, _, value_bias = attention.c_attn.bias.view(3, -1).unbind()
    query = F.linear(asking * gain + shift, to_query.flatten(0, 1), query_bias)
    wanted = torch.einsum("bhd,hdw->bhw", query.view(len(query), heads, -1), to_key) * (gain / to_key.shape[1] ** 0.5)
    scores = (wanted.to(normal.dtype) @ normal.mT).float()  # (B, H, T)
    weights = torch.softmax(scores.masked_fill(~seen[:, None], -torch.inf), dim=-1)
    read = (weights.to(normal.dtype) @ normal) * gain + shift  # (B, H, D)
    value = torch.einsum("bhw,hdw->bhd", read, to_value).flatten(1) + value_bias
    mixed: Tensor = attention.c_proj(value)
    return mixed
