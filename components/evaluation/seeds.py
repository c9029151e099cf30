"""What can be said of figures over the seeds of a training: how far another seed may lie, and which means differ."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from components.evaluation.paired.p_values import SIGNIFICANT, holm_adjusted


def t_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the mean of two values or more that are drawn from a normal distribution."""
    from scipy.stats import t

    reach = float(t.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return mean(values) - reach, mean(values) + reach


@dataclass(frozen=True)
class Contrast:
    """How the means of two groups differ: the second less the first."""

    first: int
    second: int
    difference: float
    p_value: float
    """Adjusted for all that was compared with it."""

    @property
    def significant(self) -> bool:
        """Whether it is more than another draw of seeds would make of equals."""
        return self.p_value < SIGNIFICANT


def contrasts(groups: Sequence[Sequence[float]], pairs: Iterable[tuple[int, int]]) -> list[Contrast]:
    """Compare the means of pairs of groups, so that of equals at most 5 % of calls find any pair to be different.

    By Welch's test ("The generalization of Student's problem when several different population variances are
    involved", 1947), as trainings of unlike recipes scatter unlike; seeds do not pair them, since another recipe makes
    other use of its random numbers. Adjusted over all pairs (Holm): give every pair that could have been looked at,
    which is all of them where one of the groups was picked for its mean.

    Args:
        groups: figures, one a seed. Pairs with a group of less than two are left out: nothing is known of its scatter.
        pairs: numbers of groups.
    """
    pairs = [(first, second) for first, second in pairs if min(len(groups[first]), len(groups[second])) > 1]
    p_values = holm_adjusted({pair: welch(groups[pair[0]], groups[pair[1]]) for pair in pairs})
    return [
        Contrast(first, second, mean(groups[second]) - mean(groups[first]), p_values[first, second])
        for first, second in pairs
    ]


def welch(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the two-sided p value that two groups of two values or more have equal means.

    It is 1 where neither scatters: shares of a few hundred rows come in steps, and seeds that fall on the same step
    do not show that there is no scatter.
    """
    from scipy.stats import ttest_ind_from_stats

    if stdev(first) == stdev(second) == 0:
        return 1.0
    # From the moments: of values that are all the same, scipy's own calculation of them warns.
    groups = ((mean(each), stdev(each), len(each)) for each in (first, second))
    return float(ttest_ind_from_stats(*next(groups), *next(groups), equal_var=False).pvalue)
