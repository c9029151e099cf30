"""A network's hidden states without the work that padding makes.

Norms, linear layers and activations treat each position by itself, so they can do with the real ones, end to end; only
attention needs rows. In a batch of short messages of all lengths half the positions are padding.
Shapes: B batch, T tokens, N real tokens of the whole batch, D width, H heads, d width of a head.
"""

import torch
from torch import Tensor

from components.models.architecture import Block, Transformer
from components.models.attention import attend
from components.models.fast import uses

MULTIPLE = 32
"""N is rounded up to a multiple, with padding: oneDNN makes a kernel for every new shape."""
WORTHWHILE = 0.9
"""Share of real positions above which there is little to save."""


def places_to_compute(lengths: Tensor, width: int) -> Tensor | None:
    """Return where the real positions are in a flattened batch, in order, and some padding to a round number: (N,).

    Of each row, `width` long, the first `lengths` (B,) are real. None: all are, there is little to save.
    """
    count = int(lengths.sum())
    if not uses("no padding") or count + MULTIPLE > WORTHWHILE * len(lengths) * width:
        return None
    read = (torch.arange(width) < lengths[:, None]).flatten()
    read[(~read).nonzero()[: -count % MULTIPLE, 0]] = True
    return read.nonzero()[:, 0]


def hidden_states(transformer: Transformer, tokens: Tensor, places: Tensor, visible: Tensor | None = None) -> Tensor:
    """Return what `transformer(tokens)` does, (B, T) to (B, T, D), in the `places` (N,) of a batch; elsewhere zero.

    Attention is causal and padding is on the right, so that no real position sees any; or of each row all see what is
    `visible` (B, T).
    """
    rows, width = tokens.shape
    mask = None if visible is None else visible[:, None, None]
    positions = (places % width)[None]

    def step(block: Block, x: Tensor) -> Tensor:
        dropout = block.dropout if block.training else 0.0

        def look(*projected: Tensor) -> Tensor:
            spread = (_spread(each.transpose(1, 2)[0], places, rows, width).transpose(1, 2) for each in projected)
            query, key, value = spread
            seen = attend(query, key, value, mask is None, mask, dropout, block.window)
            return seen.transpose(1, 2).flatten(0, 1)[places][None].transpose(1, 2)

        return block.run(x, look, positions)

    embedded = transformer.embed(tokens.flatten()[places][None], positions)  # (1, N, D)
    return _spread(transformer.pass_through(transformer.drop(embedded), step)[0], places, rows, width)


def _spread(x: Tensor, places: Tensor, rows: int, width: int) -> Tensor:
    """Put x (N, ...) in its places: (B, T, ...), zero elsewhere."""
    spread = x.new_zeros(rows * width, *x.shape[1:]).index_copy(0, places, x)
    return spread.view(rows, width, *x.shape[1:])
