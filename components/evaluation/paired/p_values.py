"""p values, two-sided: that two models on the same rows are alike; and which of many metrics are different."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, norm

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

SIGNIFICANT = 0.05
LEVEL = 0.05
"""The largest share of comparisons of equals that name a winner in any metric."""
PRIMARY_LEVEL = 0.04
OTHERS_LEVEL = LEVEL - PRIMARY_LEVEL
PERMUTATIONS = 9999
BLOCK = 4_000_000
"""Permutations times rows in memory at once."""


def shown(value: float) -> str:
    """Return a p value for a sentence."""
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def mcnemar(first: Flags, second: Flags) -> float:
    """Return the exact p value that two are equally often right on the same rows (N), of who was right on which.

    McNemar, "Note on the sampling error of the difference between correlated proportions", 1947: only the
    rows on which exactly one of the two is right count.
    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    if only_first + only_second == 0:
        return 1.0
    return float(binomtest(only_first, only_first + only_second).pvalue)


def bootstrap_p(difference: float, resampled: Floats) -> float:
    """Return the p value that a difference is 0, from the standard error of its resamples (R).

    By the normal approximation: the share of resamples beyond 0 is too coarse for a correction by a dozen metrics.
    """
    error = float(np.nanstd(resampled)) if np.isfinite(resampled).any() else 0.0
    return float(2 * norm.sf(abs(difference) / error)) if error else 1.0


def permutation_p(differences: Floats, seed: int = 0) -> float:
    """Return the two-sided p value that the mean of N paired differences is 0, by swapping within pairs at random.

    Fisher, "The Design of Experiments", 1935, section 21. It tests the difference that is reported, and unlike
    Wilcoxon's signed ranks it needs no rule for ties and zeros, of which judges' scores are full. Up to 13 pairs that
    differ, all ways to swap them are tried; of more, 9,999 drawn ones and the one that was seen (Phipson and Smyth,
    "Permutation P-values Should Never Be Zero", 2010).
    """
    differences = differences[differences != 0]  # these say the same both ways round
    pairs = len(differences)
    reached = abs(differences.sum()) - 1e-12 * np.abs(differences).sum()
    if pairs < 14:
        sums = (1 - 2 * (np.arange(2**pairs)[:, None] >> np.arange(pairs) & 1)) @ differences
        return float((abs(sums) >= reached).mean())
    generator, extreme, size = np.random.default_rng(seed), 1, max(1, BLOCK // pairs)
    for start in range(0, PERMUTATIONS, size):
        drawn = generator.integers(256, size=(min(size, PERMUTATIONS - start), -(-pairs // 8)), dtype=np.uint8)
        swapped = np.unpackbits(drawn, axis=1, count=pairs).astype(np.float64)
        extreme += int((abs(differences.sum() - 2 * (swapped @ differences)) >= reached).sum())
    return extreme / (PERMUTATIONS + 1)


def different(primary: str, p_values: Mapping[str, float]) -> frozenset[str]:
    """Return the names of the metrics that differ by more than chance.

    One metric, chosen ahead, decides, and is tested by itself; all others are corrected together. Of the 5 % of
    comparisons of equals that may name a winner, 4 % are spent on the one and 1 % on the others, which have all of the
    5 % where the one differs: the fallback procedure (Wiens, "A fixed sequence Bonferroni procedure for testing
    multiple endpoints", 2003), with Holm's step-down procedure for the others (Holm, "A simple sequentially rejective
    multiple test procedure", 1979).

    Args:
        primary: the metric that decides; it may be missing.
        p_values: two-sided, of each metric by itself.
    """
    found = {primary} if p_values.get(primary, 1.0) < PRIMARY_LEVEL else set()
    level = LEVEL if found else OTHERS_LEVEL
    others = sorted((p_value, name) for name, p_value in p_values.items() if name != primary)
    for place, (p_value, name) in enumerate(others):
        if p_value > level / (len(others) - place):
            break
        found.add(name)
    return frozenset(found)
