"""Two models' scores on the same rows: which is higher, and whether it is more than chance."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.evaluation.comparison import Interval
from components.evaluation.intervals import middle, resampled_means

Floats = NDArray[np.float64]

PERMUTATIONS = 9999
BLOCK = 4_000_000
"""Permutations times rows in memory at once."""


@dataclass(frozen=True)
class PairedScores:
    """Means of two on the same rows, with 95 % intervals; the difference is second minus first."""

    rows: int
    first: float
    second: float
    first_interval: Interval
    second_interval: Interval
    difference_interval: Interval
    p_value: float
    """Permutation test, two-sided: that whose score is whose does not matter."""

    @property
    def difference(self) -> float:
        """Second minus first."""
        return self.second - self.first


def compare_scores(first: Floats, second: Floats, seed: int = 0) -> PairedScores:
    """Compare the scores of two on the same N > 0 rows (N), in the same order and without nan.

    Intervals are paired bootstraps, as in `components.evaluation.comparison`.

    Raises:
        ValueError: if a score is missing.
    """
    both = np.column_stack([first, second])
    if not len(both) or np.isnan(both).any():
        raise ValueError("scores can be compared on rows that both have a score of, and on one at least")
    means = resampled_means(both, seed)
    return PairedScores(
        rows=len(both),
        first=float(first.mean()),
        second=float(second.mean()),
        first_interval=middle(means[:, 0]),
        second_interval=middle(means[:, 1]),
        difference_interval=middle(means[:, 1] - means[:, 0]),
        p_value=permutation_p(second - first, seed),
    )


def permutation_p(differences: Floats, seed: int = 0) -> float:
    """Return the two-sided p value that the mean of N paired differences is 0, by swapping within pairs at random.

    Fisher, "The Design of Experiments", 1935, section 21. It tests the difference that is reported, and unlike
    Wilcoxon's signed ranks it needs no rule for ties and zeros, of which judges' scores are full. Up to 13 pairs that
    differ, all ways to swap them are tried; of more, 9,999 drawn ones and the one that was seen (Phipson and Smyth,
    "Permutation P-values Should Never Be Zero", 2010).
    """
    differences = differences[differences != 0]  # these say the same both ways round
    reached = abs(differences.sum()) - 1e-12 * np.abs(differences).sum()
    every = 2 ** len(differences) if len(differences) < 14 else None
    extreme = sum(int((abs(sums) >= reached).sum()) for sums in _swapped(differences, every, seed))
    return extreme / every if every else (extreme + 1) / (PERMUTATIONS + 1)


def _swapped(differences: Floats, every: int | None, seed: int) -> Iterator[Floats]:
    """Yield the sums (R) of the differences after swapping some pairs: in all ways there are, or at random."""
    pairs = len(differences)
    if every:
        yield (1 - 2 * (np.arange(every)[:, None] >> np.arange(pairs) & 1)) @ differences
        return
    generator = np.random.default_rng(seed)
    size = max(1, BLOCK // pairs)
    for start in range(0, PERMUTATIONS, size):
        drawn = generator.integers(256, size=(min(size, PERMUTATIONS - start), -(-pairs // 8)), dtype=np.uint8)
        swapped = np.unpackbits(drawn, axis=1, count=pairs).astype(np.float64)
        yield differences.sum() - 2 * (swapped @ differences)
