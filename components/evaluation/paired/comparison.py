"""Two models, or judges, on the same rows: which is better on what, if it is more than chance, how far they agree."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import pydantic.dataclasses
from pydantic import Field, computed_field
from scipy.stats import binom, kendalltau, pearsonr, spearmanr

from components.evaluation.labelled import Predictions
from components.evaluation.metrics import (
    METRICS,
    RESPONSES,
    Interval,
    Metric,
    evaluated,
    metrics_of_labels,
    percentile_interval,
    resampled,
)
from components.evaluation.paired.p_values import (
    PRIMARY_LEVEL,
    Flags,
    bootstrap_p,
    different,
    different_among,
    mcnemar,
    permutation_p,
)
from components.evaluation.weighted import Floats

Side = Literal["first", "second"]
COEFFICIENTS = {"pearson": pearsonr, "spearman": spearmanr, "kendall": kendalltau}
"""Linear correlation, correlation of ranks, and tau-b: concordant less discordant pairs, with ties allowed for."""
SAME = "one of the two gives every response the same score"
FEW = "fewer than two responses have a score of both"


@pydantic.dataclasses.dataclass(frozen=True)
class MetricPair:
    """A metric of two models on the same rows, with 95 % intervals; the difference is second minus first."""

    name: str
    rows: Annotated[int, Field(exclude=True)]
    first: float
    second: float
    first_interval: Interval
    second_interval: Interval
    difference_interval: Interval
    p_value: float
    """Two-sided, of this metric by itself: that both have the same."""
    significant: Annotated[bool, Field(exclude=True)] = False
    """Whether the difference is more than chance, all metrics taken together (`paired.p_values`)."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def title(self) -> str:
        """What the metric is called, and in what it is measured."""
        return METRICS[self.name].title_with_unit

    @computed_field  # type: ignore[prop-decorator]
    @property
    def difference(self) -> float:
        """Second minus first."""
        return self.second - self.first

    @computed_field  # type: ignore[prop-decorator]
    @property
    def better(self) -> Side | None:
        """Whose value is better where the difference is more than chance, else None."""
        if not self.significant or self.difference == 0:
            return None
        return "second" if (self.difference > 0) == (METRICS[self.name].better == "more") else "first"


@dataclass(frozen=True)
class Paired:
    """Two models on the same rows."""

    rows: int
    only_first: int
    """Rows on which the first was right (gave the reference word for word) and the second was not."""
    only_second: int
    p_value: float
    """McNemar's exact test, two-sided: that both are right equally often."""
    metrics: list[MetricPair]
    """In order of interest; those that are undefined for one of the two are left out."""
    primary: str
    """The metric that decides."""
    level: float = PRIMARY_LEVEL
    """Below which p value it is called different."""

    def metric(self, name: str) -> MetricPair | None:
        """Return one of the metrics; None where it is undefined for one of the two."""
        return next((each for each in self.metrics if each.name == name), None)

    @property
    def deciding(self) -> MetricPair | None:
        """The primary metric; None where it is undefined for one of the two."""
        return self.metric(self.primary)

    @property
    def better(self) -> Side | None:
        """Return who is significantly better in the metric that decides, or None."""
        return self.deciding.better if self.deciding else None

    @property
    def smallest_difference(self) -> float:
        """The smallest difference of shares right that would have been significant with as many rows apart."""
        return smallest_difference(self.rows, self.only_first + self.only_second, self.level)


def compare_predictions(
    first: Predictions, second: Predictions, ordered: bool = False, seed: int = 0, primary: str = "accuracy"
) -> Paired:
    """Compare two classifiers on the same N > 0 rows, in the same order and with the same classes.

    What `compare` says of intervals holds; the p value of accuracy is McNemar's exact one. `primary` decides, and the
    others are corrected together.

    Raises:
        ValueError: if the rows' true classes are not the same.
    """
    if not np.array_equal(first.truth, second.truth) or first.probabilities.shape != second.probabilities.shape:
        raise ValueError("the two were not scored on the same rows and classes")
    metrics = compare(metrics_of_labels(ordered), first, second, first.classes, seed)
    return _paired(first.correct, second.correct, metrics, primary)


def compare_responses(
    first: pd.DataFrame, second: pd.DataFrame, measure: str | None = None, seed: int = 0, primary: str = "score"
) -> Paired:
    """Compare two models' responses to the same N > 0 rows, in the same order.

    What `compare` says of intervals holds. Means of scores are compared by a permutation test, exact matches by
    McNemar's. A row without a score of both is in no figure of scores. `primary` decides, and the others are corrected
    together.

    Args:
        first: `score` (nan where there is none) and the lexical measures of the one.
        second: those of the other.
        measure: the lexical measure that the score is, if it is one: it counts once.
        seed: of the resamples.
        primary: the metric that decides.
    """
    metrics: list[MetricPair] = []
    for metric in RESPONSES:
        if metric.test and metric.name != measure:
            both = first[metric.name].notna() & second[metric.name].notna()
            if both.any():
                metrics += compare([metric], first[both], second[both], 2, seed)
    exact = [each["exact_match"].to_numpy() == 1.0 for each in (first, second)]
    return _paired(exact[0], exact[1], metrics, primary)


def compare_scores(first: Floats, second: Floats, seed: int = 0) -> MetricPair:
    """Compare the scores of two on the same N > 0 rows (N), in the same order and without nan.

    Raises:
        ValueError: if a score is missing.
    """
    if not len(first) or np.isnan(first).any() or np.isnan(second).any():
        raise ValueError("scores can be compared on rows that both have a score of, and on one at least")
    tables = [pd.DataFrame({"score": each}) for each in (first, second)]
    return compare([METRICS["score"]], tables[0], tables[1], 2, seed)[0]


def compare(metrics: Sequence[Metric], first: Any, second: Any, width: int, seed: int) -> list[MetricPair]:
    """Compare two models on the same N > 0 rows of `width` values by each metric that is defined for both.

    Intervals of shares are Wilson's. All others are paired bootstraps (Efron and Tibshirani, "An Introduction to the
    Bootstrap", 1993, chapter 13): the same rows are drawn for both, so that what makes rows easy or hard for both
    cancels out in the difference.
    """
    values = [evaluated(metrics, each) for each in (first, second)]
    metrics = [metric for metric in metrics if all(metric.name in each for each in values)]
    draws = [resampled(metrics, each, width, seed) for each in (first, second)]
    return [_pair(metric, (first, second), values, [each[metric.name] for each in draws]) for metric in metrics]


def corrected(comparisons: Sequence[Paired]) -> list[Paired]:
    """Return K comparisons with all of their metrics corrected together (`p_values.different_among`); one stays as is.

    What the smallest significant difference would be is then said of Holm's first step, at a K-th of the level.
    """
    if len(comparisons) < 2:
        return list(comparisons)
    p_values = [{each.name: each.p_value for each in paired.metrics} for paired in comparisons]
    different = different_among(comparisons[0].primary, p_values)
    return [
        replace(
            paired,
            metrics=[replace(each, significant=each.name in found) for each in paired.metrics],
            level=PRIMARY_LEVEL / len(comparisons),
        )
        for paired, found in zip(comparisons, different, strict=True)
    ]


@dataclass(frozen=True)
class Agreement:
    """Two judges on the rows that both have scored."""

    rows: int
    coefficients: dict[str, float]
    """`pearson`, `spearman` and `kendall`, from -1 to 1; none where they are undefined."""
    undefined: str | None
    """Why they are undefined."""
    scores: MetricPair | None
    """The mean scores of both; None without a row."""


def agreement(first: Floats, second: Floats) -> Agreement:
    """Return how far two judges' scores of the same N responses agree; nan stands for a missing score.

    Correlations say whether they put responses in the same order, not whether they give the same scores: a judge that
    is ten points milder everywhere correlates perfectly. The means and their difference say the rest.
    """
    both = ~np.isnan(first) & ~np.isnan(second)
    one, other = first[both], second[both]
    scores = compare_scores(one, other) if both.any() else None
    undefined = FEW if len(one) < 2 else SAME if np.ptp(one) == 0 or np.ptp(other) == 0 else None
    found = {} if undefined else {name: float(measure(one, other)[0]) for name, measure in COEFFICIENTS.items()}
    return Agreement(int(both.sum()), found, undefined, scores)


def smallest_difference(rows: int, discordant: int, level: float = PRIMARY_LEVEL) -> float:
    """Return the smallest significant difference of shares right, if exactly one is right on `discordant` rows.

    With fewer than six such rows no outcome is significant (at the level of a single comparison): then the difference
    that six, all one way, would make.
    """
    few = int(np.ceil(1 - np.log2(level)))
    if discordant < few:
        return few / rows
    # McNemar's p value by the larger count, which falls as that grows.
    p_values = 2 * binom.sf(np.arange(discordant + 1) - 1, discordant, 0.5)
    return float((2 * np.argmax(p_values < level) - discordant) / rows)


def _pair(metric: Metric, sides: tuple[Any, Any], values: list[dict[str, float]], draws: list[Floats]) -> MetricPair:
    name = metric.name
    first, second = (each[name] for each in values)
    intervals = [percentile_interval(each) for each in draws]
    if metric.interval == "wilson":
        intervals = [(each[f"{name}_low"], each[f"{name}_high"]) for each in values]
    differences = draws[1] - draws[0]
    if metric.test == "mcnemar":
        p_value = mcnemar(*(metric.per_row(side) == 1.0 for side in sides))
    elif metric.test == "permutation":
        p_value = permutation_p(metric.per_row(sides[1]) - metric.per_row(sides[0]))
    else:
        p_value = bootstrap_p(second - first, differences)
    ends = percentile_interval(differences)
    return MetricPair(name, len(sides[0]), first, second, intervals[0], intervals[1], ends, p_value)


def _paired(first: Flags, second: Flags, metrics: Iterable[MetricPair], primary: str) -> Paired:
    """Put together who was right on which rows (N) and the metrics, and say which of these differ."""
    metrics = list(metrics)
    found = different(primary, {each.name: each.p_value for each in metrics})
    return Paired(
        rows=len(first),
        only_first=int((first & ~second).sum()),
        only_second=int((second & ~first).sum()),
        p_value=mcnemar(first, second),
        metrics=[replace(each, significant=each.name in found) for each in metrics],
        primary=primary,
    )
