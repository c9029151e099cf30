"""p values, two-sided: that two models on the same rows are alike; and which of many metrics are different."""

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, norm

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Key = TypeVar("Key", bound=Hashable)

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
    """Return the names of the metrics that differ by more than chance: `different_among` a single comparison.

    Args:
        primary: the metric that decides; it may be missing.
        p_values: two-sided, of each metric by itself.
    """
    return different_among(primary, [p_values])[0]


def different_among(primary: str, comparisons: Sequence[Mapping[str, float]]) -> list[frozenset[str]]:
    """Return, of each of K comparisons, the names of the metrics that differ by more than chance.

    One metric, chosen ahead, decides; its K tests are corrected together, and so are those of all other metrics in all
    comparisons. Of the 5 % of cases in which equals may get a winner somewhere, 4 % are spent on the one and 1 % on the
    others, which have all of the 5 % where every comparison differs in the one: the fallback procedure (Wiens, "A fixed
    sequence Bonferroni procedure for testing multiple endpoints", 2003), with Holm's step-down procedure within both.

    Args:
        primary: the metric that decides; it may be missing.
        comparisons: of each the p values, two-sided, of each metric by itself.
    """
    deciding = {place: found[primary] for place, found in enumerate(comparisons) if primary in found}
    found = {(place, primary) for place in holm(deciding, PRIMARY_LEVEL)}
    level = LEVEL if len(found) == len(comparisons) else OTHERS_LEVEL
    others = {
        (place, name): p_value
        for place, p_values in enumerate(comparisons)
        for name, p_value in p_values.items()
        if name != primary
    }
    found |= holm(others, level)
    return [frozenset(name for at, name in found if at == place) for place in range(len(comparisons))]


def holm(p_values: Mapping[Key, float], level: float) -> set[Key]:
    """Return which tests reject so that any of the true ones does in `level` of cases at most.

    Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    return {key for key, adjusted in holm_adjusted(p_values).items() if adjusted < level}


def holm_adjusted(p_values: Mapping[Key, float]) -> dict[Key, float]:
    """Return the p values after Holm's correction: each is the smallest level at which its test still rejects."""
    found, largest = {}, 0.0
    for place, key in enumerate(sorted(p_values, key=lambda key: p_values[key])):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[key]))
        found[key] = largest
    return found
