"""A network's hidden states with each prefix computed once, however many rows of a batch begin with it.

Entries in one template begin alike: a system prompt, "Below is an instruction". Under causal attention a state depends
on the tokens up to its own and on nothing else, so rows that begin with the same tokens have the same states there; and
gradients of states that rows share add up. Padding is not computed either.
Shapes: B batch, T tokens, N computed positions of the whole batch, D width, H heads, d width of a head.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from components.models.architecture import Block, Transformer
from components.models.attention import attend
from components.models.fast import uses
from components.models.fast.unpadded import MULTIPLE, WORTHWHILE


@dataclass(frozen=True)
class Distinct:
    """The positions (N,) of a flattened batch that differ from all others, and whose state is in which row, (B, T).

    `source` says for each position of the batch which of the N has its state; behind a row's end, 0.
    """

    positions: Tensor
    source: Tensor

    def to(self, device: torch.device) -> "Distinct":
        """Return the same on `device`."""
        return Distinct(self.positions.to(device), self.source.to(device))


def distinct(tokens: Tensor, lengths: Tensor) -> Distinct | None:
    """Find what has to be computed of tokens (B, T), right-padded, of which the first `lengths` (B,) of a row count.

    N is a round number, with some position computed more than once. None: there is little to save.
    """
    width = tokens.shape[1]
    inside = torch.arange(width) < torch.minimum(lengths[:, None], lengths)[..., None]
    shared = ((tokens[:, None] == tokens) & inside).cumprod(-1).sum(-1).tril(-1)  # (B, B): with the rows before
    longest, like = shared.max(dim=1)
    source = torch.zeros_like(tokens)
    positions: list[Tensor] = []
    count = 0
    for row, (common, length) in enumerate(zip(longest.tolist(), lengths.tolist(), strict=True)):
        source[row, :common] = source[like[row], :common]
        source[row, common:length] = torch.arange(count, count + length - common)
        positions.append(torch.arange(row * width + common, row * width + length))
        count += length - common
    positions.append(torch.zeros(-count % MULTIPLE, dtype=torch.int64))  # oneDNN makes a kernel for every new shape
    return Distinct(torch.cat(positions), source) if count + MULTIPLE <= WORTHWHILE * tokens.numel() else None


def shares_prefixes(model: nn.Module) -> bool:
    """Tell whether rows of a model may share states. With dropout they may not: each row draws its own."""
    return uses("shared prefixes") and not any(getattr(module, "dropout", 0.0) for module in model.modules())


def distinct_states(transformer: Transformer, tokens: Tensor, found: Distinct) -> Tensor:
    """Return the states that `transformer(tokens)` has in the distinct positions: (B, T) to (N, D)."""
    positions = (found.positions % tokens.shape[1])[None]

    def step(block: Block, x: Tensor) -> Tensor:
        def look(*projected: Tensor) -> Tensor:
            query, key, value = (each.transpose(1, 2)[0][found.source].transpose(1, 2) for each in projected)
            seen = attend(query, key, value, True, None, 0.0, block.window)  # (B, H, T, d)
            return seen.transpose(1, 2).flatten(0, 1)[found.positions][None].transpose(1, 2)

        return block.run(x, look, positions)

    embedded = transformer.embed(tokens.flatten()[found.positions][None], positions)  # (1, N, D)
    return transformer.pass_through(embedded, step)[0]
