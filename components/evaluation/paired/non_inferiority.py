"""Whether a candidate is not worse than a reference on the same rows, by an interval that holds its level.

A candidate is not worse where the lower end of the two-sided 95 % interval of the paired difference (candidate less
reference) is above minus a margin that was set beforehand: one that is just the margin worse passes in 2.5 % of cases.
A bootstrap will not do: it has no width where no row tells the two apart.
"""

from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

FEWEST_ROWS = 100
"""Paired rows below which nothing is evidence."""
LEVEL = 0.025
"""Chance at most, on each side, that the interval misses the difference."""
Z = float(norm.ppf(1 - LEVEL))
POWER_Z = float(norm.ppf(0.8))
"""Rows needed are those with which 80 % of equally good candidates pass."""
ONE, HUNDRED = 1.0, 100.0
"""Largest accuracy, as a share, and largest score of a judge."""
MOST_VALUES = 4000
"""Different differences of scores beyond which they are rounded, away from what is to be shown."""
STEP = 0.05
"""To how many points."""
FAR = 30.0
"""Standard deviations between mean and bound beyond which the chance is below 1e-6, by Chernoff's inequality."""


@dataclass(frozen=True)
class Difference:
    """Means of candidate and reference on N paired rows, with the 95 % interval of their difference."""

    rows: int
    candidate: float
    reference: float
    low: float
    high: float
    variance: float
    """Of a row's difference, in squared units of `highest`."""
    highest: float
    """The largest value that a row can have: 1 of accuracies, 100 of scores."""

    @property
    def value(self) -> float:
        """Candidate less reference."""
        return self.candidate - self.reference

    def not_worse(self, margin: float) -> bool:
        """Say whether the candidate is shown to be less than `margin` worse; with 0, to be better."""
        return self.rows >= FEWEST_ROWS and self.low > -margin

    def rows_needed(self, margin: float) -> int | None:
        """Return about how many rows would show it in 80 % of cases, with rows as far apart as these.

        For a candidate that is equally good or, where `margin` is 0, for one as much better as this one seems; None if
        it does not seem better. Normal approximation, and the rows that even two that never differ would need.
        """
        gap = (margin or self.value) / self.highest
        if gap <= 0:
            return None
        apart = (Z + POWER_Z) ** 2 * self.variance / self.highest**2 / gap**2
        return max(FEWEST_ROWS, ceil(apart + Z**2 * (1 - gap) / gap))


def accuracy_difference(candidate: Flags, reference: Flags) -> Difference:
    """Compare which of N > 0 rows two classifiers are right on, by Tango's interval."""
    only_candidate, only_reference = int((candidate & ~reference).sum()), int((reference & ~candidate).sum())
    low, high = tango_interval(only_candidate, only_reference, len(candidate))
    variance = float(np.var(candidate.astype(float) - reference.astype(float)))
    return Difference(len(candidate), float(candidate.mean()), float(reference.mean()), low, high, variance, ONE)


def score_difference(candidate: Floats, reference: Floats) -> Difference:
    """Compare two models' scores (0 to 100) on N > 0 rows, without nan, by Gaffke's bound from either side."""
    differences = candidate - reference
    low, high = mean_lower_bound(differences, -HUNDRED), -mean_lower_bound(-differences, -HUNDRED)
    means = float(candidate.mean()), float(reference.mean())
    return Difference(len(candidate), *means, low, high, float(np.var(differences)), HUNDRED)


def tango_interval(only_first: int, only_second: int, rows: int) -> tuple[float, float]:
    """Return the 95 % score interval of the difference of two paired proportions, first less second.

    Tango, "Equivalence test and confidence interval for the difference in proportions for the paired-sample design",
    Statistics in Medicine 17, 1998. It has width where no row is discordant.

    Args:
        only_first: rows on which the first is right and the second is wrong.
        only_second: rows on which it is the other way round.
        rows: all rows, N > 0.

    Raises:
        ValueError: if the counts do not fit together.
    """
    if rows < 1 or min(only_first, only_second) < 0 or only_first + only_second > rows:
        raise ValueError(f"{only_first} and {only_second} discordant rows of {rows}")
    return _tango_low(only_first, only_second, rows), -_tango_low(only_second, only_first, rows)


def _tango_low(only_first: int, only_second: int, rows: int) -> float:
    """Return the smallest difference that the score test does not reject."""

    def excess(difference: float) -> float:
        """Return by how much what was seen exceeds what `difference` and 1.96 standard errors would explain."""
        spread = sqrt(rows * _constrained_variance(only_first / rows, only_second / rows, difference))
        return only_first - only_second - rows * difference - Z * spread

    seen = (only_first - only_second) / rows
    if excess(-1.0) <= 0:
        return -1.0
    # At what was seen itself the spread may be 0, where no row or every row is discordant.
    return float(brentq(excess, -1.0, seen - 1e-12, xtol=1e-10))


def _constrained_variance(first: float, second: float, difference: float) -> float:
    """Return the variance of a row's difference by maximum likelihood, where its mean is `difference`.

    `first` and `second` are the observed shares of rows on which only the one is right.
    """
    linear = -first - second + (2 - first + second) * difference
    constant = -second * difference * (1 - difference)
    only_second = (sqrt(max(linear**2 - 8 * constant, 0.0)) - linear) / 4
    return max(2 * only_second + difference * (1 - difference), 0.0)


def mean_lower_bound(values: Floats, least: float) -> float:
    """Return the lower end (97.5 % one-sided) of an interval of the mean of N > 0 values that are at least `least`.

    Gaffke, "Three test statistics for a nonparametric one-sided hypothesis on the mean of a nonnegative variable",
    Mathematical Methods of Statistics 14, 2005; Learned-Miller and Thomas, "A New Confidence Interval for the Mean of
    a Bounded Random Variable", 2019. It is the 2.5 % quantile of the Bayesian bootstrap of the values and one more,
    the least possible. Of values that are one or the other of two, of which `least` is one, it is Clopper and Pearson's
    bound. Unlike those by t or a bootstrap it holds its level however skewed the values are, such as where a model that
    is otherwise equal fails wholly on one row in fifty.
    """
    if len(np.unique(values)) > MOST_VALUES:
        values = np.floor(values / STEP) * STEP
    mean = float(np.append(values, least).mean())
    if mean <= least:
        return least
    # The quantile is below the mean of the weighted values, unless they are as good as one value.
    high = float(values.max())
    return float(brentq(lambda bound: mean_below(values, least, bound) - LEVEL, least, high, xtol=1e-6))


def mean_below(values: Floats, least: float, bound: float) -> float:
    """Return the chance that the mean of values (N) and `least`, weighted at random, is at most `bound`.

    The weights are those of the Bayesian bootstrap, exponential ones divided by their sum. The sum of exponentials
    that decides has a known characteristic function, of which Gil-Pelaez' formula makes the chance (Biometrika 38,
    1951). Integrated over the logarithm of the frequency by the trapezoidal rule.
    """
    distinct, counts = np.unique(np.append(values, least), return_counts=True)
    apart = distinct - bound
    if apart.max() <= 0:
        return 1.0
    if apart.min() >= 0:
        return 0.0
    apart /= np.sqrt(counts @ apart**2)
    if abs(deviations := float(counts @ apart)) > FAR:
        return float(deviations < 0)
    logs = np.linspace(-18.0, 10.0, 1000)
    waves = np.exp(logs)[:, None] * apart
    size, angle = np.exp(-0.5 * (np.log1p(waves**2) @ counts)), np.arctan(waves) @ counts
    return float(0.5 - np.trapezoid(np.sin(angle) * size, logs) / np.pi)
