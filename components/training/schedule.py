"""The learning rate over a run: a linear rise, then constant or falling along a cosine."""

import math
from collections.abc import Callable

from components.core.errors import ConfigError
from components.training.config import Recipe


def warmup_steps(config: Recipe, total: int) -> int:
    """Return how many of `total` steps the learning rate rises.

    Raises:
        ConfigError: if that is all of them.
    """
    steps = round(config.warmup * total) if config.warmup < 1 else int(config.warmup)
    if steps >= total > 1:
        raise ConfigError(
            f"train.warmup={config.warmup:g} is {steps} steps, but the run has {total}: set it below, or train longer"
        )
    return steps


def learning_rate_factor(config: Recipe, total: int) -> Callable[[int], float]:
    """Return the function from a step (0 is the first) to the share of `learning_rate` that it is taken with.

    The rise goes in equal parts to 1; the cosine falls to 0 at the end of the run (Loshchilov and Hutter, "SGDR", 2017,
    without restarts).
    """
    warmup = warmup_steps(config, total)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        if config.schedule == "constant":
            return 1.0
        done = (step - warmup) / max(total - warmup, 1)
        return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))

    return factor
