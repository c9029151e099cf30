"""95 % intervals: of a share by Wilson's method, of everything else by the bootstrap.

Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13: rows are drawn again with replacement, and
the interval holds the middle 95 % of what the metric then is. Rows count as independent of each other.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

Floats = NDArray[np.float64]
Interval = tuple[float, float]

RESAMPLES, FEWEST_RESAMPLES = 1000, 200
BUDGET = 200_000_000
"""Resamples times rows times classes at most, while more than the fewest resamples are left."""
BLOCK = 4_000_000
"""Resamples times rows in memory at once."""


def drawn_rows(rows: int, width: int, seed: int) -> Iterator[Floats]:
    """Yield how often each of `rows` > 0 rows of `width` values was drawn (R, N), in blocks that fit into memory.

    The same for as many rows of as many values, so that two models can be compared in pairs.
    """
    resamples = int(np.clip(BUDGET // (rows * width), FEWEST_RESAMPLES, RESAMPLES))
    generator = np.random.default_rng(seed)
    size = max(1, BLOCK // rows)
    for start in range(0, resamples, size):
        block = min(size, resamples - start)
        drawn = generator.integers(rows, size=(block, rows)) + np.arange(block)[:, None] * rows
        yield np.bincount(drawn.ravel(), minlength=block * rows).reshape(block, rows).astype(np.float64)


def percentile_interval(values: Floats) -> Interval:
    """Return the ends between which 95 % of the values lie that are not nan."""
    low, high = np.nanquantile(values, [0.025, 0.975])
    return float(low), float(high)


def wilson_interval(successes: int, trials: int) -> Interval:
    """Return the 95 % score interval of a share (Wilson, "Probable Inference", 1927)."""
    interval = binomtest(successes, trials).proportion_ci(confidence_level=0.95, method="wilson")
    return float(interval.low), float(interval.high)
