"""Two classifiers on the same rows: which is better on what, and whether it is more than chance."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.stats import binomtest

from components.evaluation.intervals import resamples
from components.evaluation.metrics import Predictions, classification_metrics, mcnemar
from components.evaluation.multiplicity import PRIMARY_LEVEL, bootstrap_p, different
from components.evaluation.weighted import Floats, weighted_metrics

Side = Literal["first", "second"]
Interval = tuple[float, float]

SIGNIFICANT = 0.05
LESS_IS_BETTER = {"loss", "brier", "calibration_error", "mean_absolute_error"}


@dataclass(frozen=True)
class MetricPair:
    """A metric of two classifiers on the same rows, with 95 % intervals; the difference is second minus first."""

    name: str
    first: float
    second: float
    first_interval: Interval
    second_interval: Interval
    difference_interval: Interval
    p_value: float
    """Two-sided, of this metric by itself: that both have the same."""
    significant: bool = False
    """Whether the difference is more than chance, all metrics taken together (`components.evaluation.multiplicity`)."""

    @property
    def difference(self) -> float:
        """Second minus first."""
        return self.second - self.first

    @property
    def better(self) -> Side | None:
        """Return whose value is better where the difference is more than chance, else None."""
        if not self.significant or self.difference == 0:
            return None
        return "second" if (self.difference > 0) != (self.name in LESS_IS_BETTER) else "first"


@dataclass(frozen=True)
class Paired:
    """Two classifiers on the same rows."""

    rows: int
    only_first: int
    """Rows on which the first was right and the second was wrong."""
    only_second: int
    p_value: float
    """McNemar's exact test, two-sided: that both are right equally often."""
    metrics: list[MetricPair]
    primary: str = "accuracy"
    """The metric that decides."""

    @property
    def deciding(self) -> MetricPair | None:
        """The primary metric; None where it is undefined for one of the two."""
        return next((each for each in self.metrics if each.name == self.primary), None)

    @property
    def better(self) -> Side | None:
        """Return who is significantly better in the metric that decides, or None."""
        return self.deciding.better if self.deciding else None

    @property
    def smallest_difference(self) -> float:
        """The smallest difference of shares right that would have been significant with as many rows apart."""
        return smallest_difference(self.rows, self.only_first + self.only_second)


def compare_predictions(
    first: Predictions, second: Predictions, ordered: bool = False, seed: int = 0, primary: str = "accuracy"
) -> Paired:
    """Compare two classifiers on the same N > 0 rows, in the same order and with the same classes.

    Intervals of accuracies are Wilson's. All others are paired bootstraps (Efron and Tibshirani, "An Introduction to
    the Bootstrap", 1993, chapter 13): the same rows are drawn for both, so that what makes rows easy or hard for both
    cancels out in the difference. Metrics that are undefined for one of the two are left out. The p value of accuracy
    is McNemar's exact one; `primary` decides, and the others are corrected together.

    Raises:
        ValueError: if the rows' true classes are not the same.
    """
    if not np.array_equal(first.truth, second.truth) or first.probabilities.shape != second.probabilities.shape:
        raise ValueError("the two were not scored on the same rows and classes")
    values = [classification_metrics(each, ordered) for each in (first, second)]
    resampled = _resampled(first, second, ordered, seed)
    names = [name for name in resampled[0] if all(name in each for each in values)]
    p_value = mcnemar(first, second)
    metrics = [_pair(name, values, [each[name] for each in resampled], p_value) for name in names]
    found = different(primary, {each.name: each.p_value for each in metrics})
    return Paired(
        rows=len(first.truth),
        only_first=int((first.correct & ~second.correct).sum()),
        only_second=int((second.correct & ~first.correct).sum()),
        p_value=p_value,
        metrics=[replace(each, significant=each.name in found) for each in metrics],
        primary=primary,
    )


def smallest_difference(rows: int, discordant: int) -> float:
    """Return the smallest significant difference of shares right, if exactly one is right on `discordant` rows.

    With fewer than six such rows no outcome is significant: then the difference that six, all one way, would make.
    """
    few = min(count for count in range(1, 20) if binomtest(count, count).pvalue < PRIMARY_LEVEL)
    if discordant < few:
        return few / rows
    low, high = (discordant + 1) // 2, discordant  # p falls as the larger count grows from half to all
    while low < high:
        middle = (low + high) // 2
        if binomtest(middle, discordant).pvalue < PRIMARY_LEVEL:
            high = middle
        else:
            low = middle + 1
    return (2 * low - discordant) / rows


def _resampled(first: Predictions, second: Predictions, ordered: bool, seed: int) -> list[dict[str, Floats]]:
    """Return, for each of the two, every metric (R) of the same R samples drawn with replacement."""
    blocks: list[list[dict[str, Floats]]] = [[], []]
    for weights in resamples(first, seed):  # depends on the rows only, not on what was said of them
        for each, predictions in zip(blocks, (first, second), strict=True):
            each.append(weighted_metrics(predictions, weights, ordered))
    return [{name: np.concatenate([block[name] for block in each]) for name in each[0]} for each in blocks]


def _pair(name: str, values: list[dict[str, float]], resampled: list[Floats], mcnemars: float) -> MetricPair:
    intervals = [_middle(each) for each in resampled]
    if name == "accuracy":
        intervals = [(each["accuracy_low"], each["accuracy_high"]) for each in values]
    ahead, differences = values[1][name] - values[0][name], resampled[1] - resampled[0]
    p_value = mcnemars if name == "accuracy" else bootstrap_p(ahead, differences)
    return MetricPair(name, values[0][name], values[1][name], intervals[0], intervals[1], _middle(differences), p_value)


def _middle(values: Floats) -> Interval:
    low, high = np.nanquantile(values, [0.025, 0.975])
    return float(low), float(high)
