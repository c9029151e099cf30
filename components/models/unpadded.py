"""A network's hidden states without the work that padding makes.

Norms, linear layers and activations treat each position by itself, so they can do with the real ones, end to end; only
attention needs rows. In a batch of short messages of all lengths half the positions are padding.
Shapes: B batch, T tokens, N real tokens of the whole batch, D width.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from components.models.gpt import Block, Transformer

MULTIPLE = 32
"""N is rounded up to a multiple, with padding: oneDNN makes a kernel for every new shape."""
WORTHWHILE = 0.9
"""Share of real positions above which there is little to save."""


def places_to_compute(lengths: Tensor, width: int) -> Tensor | None:
    """Return where the real positions are in a flattened batch, in order, and some padding to a round number: (N,).

    Of each row, `width` long, the first `lengths` (B,) are real. None if there is too little padding to bother.
    """
    count = int(lengths.sum())
    if count + MULTIPLE > WORTHWHILE * len(lengths) * width:
        return None
    read = (torch.arange(width) < lengths[:, None]).flatten()
    read[(~read).nonzero()[: -count % MULTIPLE, 0]] = True
    return read.nonzero()[:, 0]


def hidden_states(transformer: Transformer, tokens: Tensor, places: Tensor) -> Tensor:
    """Return what `transformer(tokens)` does, (B, T) to (B, T, D), in the `places` (N,) of a batch; elsewhere zero.

    Attention is causal and padding is on the right, so that no real position sees any.
    """
    rows, width = tokens.shape
    x = transformer.drop(transformer.wte(tokens.flatten()[places]) + transformer.wpe(places % width))
    blocks: Iterable[Any] = transformer.h
    for block in blocks:
        if transformer.recompute and torch.is_grad_enabled():
            x = checkpoint(_pass, block, x, places, rows, width, use_reentrant=False)
        else:
            x = _pass(block, x, places, rows, width)
    return _spread(transformer.ln_f(x), places, rows, width)


def _pass(block: Block, x: Tensor, places: Tensor, rows: int, width: int) -> Tensor:
    """Return what `block` makes of x (N, D)."""
    projected = _spread(block.attn.c_attn(block.ln_1(x)), places, rows, width)
    seen = block.attn.mix(projected).flatten(0, 1)[places]
    x = x + block.drop(block.attn.c_proj(seen))
    out: Tensor = x + block.drop(block.mlp(block.ln_2(x)))
    return out


def _spread(x: Tensor, places: Tensor, rows: int, width: int) -> Tensor:
    """Put x (N, D) in its places: (B, T, D), zero elsewhere."""
    return x.new_zeros(rows * width, x.shape[-1]).index_copy(0, places, x).view(rows, width, -1)
