"""From logits to the next token: greedy, or drawn with temperature, top-k and top-p.

Shapes: B batch, V vocabulary.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from components.generation.config import GenerationConfig

NEVER = float("-inf")
"""The logit of a token that may not be drawn."""
LOWEST_TEMPERATURE = torch.finfo(torch.float32).tiny
"""What a lower temperature counts as: fp32 has no reciprocal of much smaller numbers."""


def next_tokens(
    logits: Tensor, config: GenerationConfig, generator: torch.Generator | Sequence[torch.Generator] | None = None
) -> Tensor:
    """Return the token that each row goes on with: (B, V) to (B).

    At temperature 0 the likeliest. Else drawn from what `filtered` leaves, by `generator` on the same device, or by
    one generator a row.
    """
    if config.temperature == 0:
        # Not `argmax`, which takes five times as long in bf16.
        return logits.max(dim=-1).indices
    probabilities = filtered(logits, config).softmax(dim=-1)
    if isinstance(generator, Sequence):
        rows = zip(probabilities, generator, strict=True)
        return torch.cat([torch.multinomial(row, 1, generator=own) for row, own in rows])
    return torch.multinomial(probabilities, 1, generator=generator)[:, 0]


def filtered(logits: Tensor, config: GenerationConfig) -> Tensor:
    """Return fp32 logits (B, V) to draw from: divided by the temperature, then cut by top-k, then by top-p.

    That is the order of `transformers`; top-p sees the probabilities that temperature and top-k have left. The largest
    of each row is shifted to 0 first, so that no temperature, however low, makes it infinite.
    """
    logits = logits.float()
    temperature = max(config.temperature, LOWEST_TEMPERATURE)
    logits = (logits - logits.amax(dim=-1, keepdim=True)) / temperature
    if config.top_k is not None:
        logits = keep_top_k(logits, config.top_k)
    if config.top_p is not None:
        logits = keep_top_p(logits, config.top_p)
    return logits


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Rule out all but the k largest logits of each row; what equals the k-th stays as well.

    Fan, Lewis and Dauphin, "Hierarchical Neural Story Generation", 2018.
    """
    smallest_kept = logits.topk(min(k, logits.shape[-1])).values[:, -1:]
    return logits.masked_fill(logits < smallest_kept, NEVER)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Rule out all but the nucleus of each row: the fewest tokens whose probabilities add up to p or more.

    Holtzman et al., "The Curious Case of Neural Text Degeneration", 2020.
    """
    ordered, order = logits.sort(dim=-1, descending=True)
    probabilities = ordered.softmax(dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities
    outside = before >= p
    outside[:, 0] = False  # also where rounding has it otherwise
    return logits.masked_fill(outside.scatter(-1, order, outside), NEVER)
