"""The table of metrics: all that Gradus knows of one stands in its row, so a new one is a new row.

Evaluation, comparison, reports, figures and commands read it. 95 % intervals are, of a share, Wilson's; of everything
else the bootstrap's (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13): rows are drawn again
with replacement, and the interval holds the middle 95 % of what the metric then is. Rows count as independent.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Literal

import numpy as np

from components.evaluation import weighted as of
from components.evaluation.labelled import Predictions
from components.evaluation.weighted import Floats, MeanOf, MeanOverClasses, Weighted, column

HUNDRED = 100.0
Interval = tuple[float, float]

RESAMPLES, FEWEST_RESAMPLES = 1000, 200
BUDGET = 200_000_000
"""Resamples times rows times classes at most, while more than the fewest resamples are left."""
BLOCK = 4_000_000
"""Resamples times rows in memory at once."""


@dataclass(frozen=True)
class Metric:
    """What is known of a metric."""

    name: str
    title: str
    function: Callable[[Weighted], Floats]
    """From rows with R weightings to as many values; nan where it is undefined."""
    better: Literal["more", "less"] | None = "more"
    """None: it says nothing of who is better."""
    low: float = 0.0
    high: float = 1.0
    interval: Literal["wilson", "bootstrap"] | None = None
    """How a run's figure of it gets its interval. Wilson's is for shares of rows, the mean of zeros and ones."""
    test: Literal["mcnemar", "permutation", "bootstrap"] | None = "bootstrap"
    """How two models are told apart by it; None: they are not compared by it. The first two are for means of rows."""
    unit: str = ""
    """In what it is measured, if that has to be said."""
    ordered: bool = False
    """Whether it is only for labels that are steps of a scale."""
    headline: bool = True
    """Whether it is shown where there is room for the main ones only."""

    @property
    def title_with_unit(self) -> str:
        """The title and, in brackets, the unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    @property
    def digits(self) -> int:
        """How many decimal places are shown."""
        return 1 if self.high == HUNDRED else 4

    def per_row(self, rows: Any) -> Floats:
        """Return the values (N) that it is the mean of."""
        if not isinstance(self.function, MeanOf):
            raise TypeError(f"{self.name} is no mean of what each row has")
        return self.function.values(rows)


LABELS: tuple[Metric, ...] = (
    Metric("accuracy", "accuracy", MeanOf(of.is_correct), interval="wilson", test="mcnemar"),
    Metric(
        "balanced_accuracy", "balanced accuracy", MeanOverClasses(of.recall_of, every=True), interval="bootstrap"
    ),
    Metric("precision", "precision", MeanOverClasses(of.precision_of)),
    Metric("recall", "recall", MeanOverClasses(of.recall_of)),
    Metric("f1", "F1", MeanOverClasses(of.f1_of), interval="bootstrap"),
    Metric("average_precision", "average precision", MeanOverClasses(of.average_precision_of), interval="bootstrap"),
    Metric("roc_auc", "ROC AUC", MeanOverClasses(of.roc_auc_of)),
    Metric("matthews_correlation", "Matthews correlation", of.matthews_correlation, low=-1.0, headline=False),
    Metric(
        "quadratic_weighted_kappa", "quadratic-weighted kappa", of.quadratic_weighted_kappa, low=-1.0, ordered=True
    ),
    Metric(
        "mean_absolute_error", "mean absolute error", MeanOf(of.steps_off), better="less", high=inf, unit="steps",
        ordered=True,
    ),
    Metric("calibration_error", "calibration error", of.calibration_error, better="less"),
    Metric("brier", "Brier score", MeanOf(of.squared_errors), better="less", high=2.0, headline=False),
    Metric("loss", "log loss", MeanOf(of.log_losses), better="less", high=inf, unit="nats"),
)  # fmt: skip
"""Metrics of predicted labels, in order of interest. Brier's is above 1 with more than two classes only."""

RESPONSES: tuple[Metric, ...] = (
    Metric(
        "score", "score", MeanOf(column("score")), high=HUNDRED, interval="bootstrap", test="permutation",
        unit="0 to 100",
    ),
    Metric("score_median", "score, median", of.median_score, high=HUNDRED, test=None),
    Metric(
        "score_spread", "score, spread over repeats", MeanOf(column("spread")), better=None, high=HUNDRED, test=None
    ),
    Metric("unparsed_share", "verdicts not read", of.unparsed_share, better=None, test=None),
    Metric("exact_match", "exact match", MeanOf(column("exact_match")), interval="wilson", test="mcnemar"),
    Metric("token_f1", "token F1", MeanOf(column("token_f1"))),
    Metric("chrf", "chrF", MeanOf(column("chrf")), high=HUNDRED, unit="0 to 100"),
)  # fmt: skip
"""Metrics of responses, in order of interest. One that responses are compared by, or that has a bootstrap's interval,
is the mean of the column of its name."""

PER_CLASS = {
    "recall": of.recall_of,
    "f1": of.f1_of,
    "average_precision": of.average_precision_of,
    "roc_auc": of.roc_auc_of,
}
"""Figures of one class against the rest that need a row of it."""

METRICS = {metric.name: metric for metric in (*LABELS, *RESPONSES)}
"""All of them, by name."""


def metrics_of_labels(ordered: bool) -> list[Metric]:
    """Return the metrics of labels, of which `ordered` says whether they are steps of a scale."""
    return [metric for metric in LABELS if ordered or not metric.ordered]


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
    from scipy.stats import binomtest  # a second, which lists of runs do without

    interval = binomtest(successes, trials).proportion_ci(confidence_level=0.95, method="wilson")
    return float(interval.low), float(interval.high)


def evaluated(metrics: Iterable[Metric], rows: Any) -> dict[str, float]:
    """Return the metrics of N > 0 rows, those that are shares with `_low` and `_high`; undefined ones are left out."""
    found: dict[str, float] = {}
    once = Weighted.once(rows)
    for metric in metrics:
        value = float(metric.function(once)[0])
        if np.isnan(value):
            continue
        found[metric.name] = value
        if metric.interval == "wilson":
            low, high = wilson_interval(round(value * len(rows)), len(rows))
            found |= {f"{metric.name}_low": low, f"{metric.name}_high": high}
    return found


def resampled(metrics: Sequence[Metric], rows: Any, width: int, seed: int) -> dict[str, Floats]:
    """Return metrics (R) of as many resamples of N > 0 rows of `width` values; nan where undefined."""
    blocks = [weighted_metrics(metrics, rows, weights) for weights in drawn_rows(len(rows), width, seed)]
    return {metric.name: np.concatenate([block[metric.name] for block in blocks]) for metric in metrics}


def weighted_metrics(metrics: Iterable[Metric], rows: Any, weights: Floats) -> dict[str, Floats]:
    """Return metrics (R) of R weightings (R, N) of the rows."""
    weighted = Weighted(rows, weights)
    return {metric.name: metric.function(weighted) for metric in metrics}


def bootstrap_intervals(metrics: Iterable[Metric], rows: Any, width: int, seed: int = 0) -> dict[str, float]:
    """Return `f1_low`, `f1_high` and so on of the metrics whose interval is the bootstrap's.

    A metric that is undefined in every resample is left out. Same rows and seed: same intervals.
    """
    found: dict[str, float] = {}
    wanted = [metric for metric in metrics if metric.interval == "bootstrap"]
    for name, values in resampled(wanted, rows, width, seed).items():
        if not np.isnan(values).all():
            low, high = percentile_interval(values)
            found |= {f"{name}_low": low, f"{name}_high": high}
    return found


def classification_metrics(predictions: Predictions, ordered: bool = False) -> dict[str, float]:
    """Return the metrics of N > 0 rows; one that is undefined on them is left out.

    With two classes precision, recall, F1, average precision and ROC AUC are those of the second class, the positive
    one; with more they are macro averages over the classes that have a row (the last two: one class against the rest).
    Loss is the log loss: the mean cross entropy in nats. Brier score: the mean squared error of the probabilities, of
    the second class or summed over classes. `ordered` says that class ids are steps of a scale, and adds the mean
    absolute error in steps and the kappa with quadratic weights.
    """
    return evaluated(metrics_of_labels(ordered), predictions)


def per_class(predictions: Predictions, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Return, for each of the C labels, its rows and how well it is told from the rest; None where undefined.

    Precision is undefined for a class that was never predicted, the others for one that has no row.
    """
    once = Weighted.once(predictions)
    right, rows, predicted = (each[0] for each in once.by_class)
    table: list[dict[str, Any]] = []
    for place, label in enumerate(labels):
        figures = {name: float(figure(once, place)[0]) if rows[place] else np.nan for name, figure in PER_CLASS.items()}
        figures = {"precision": float(right[place] / predicted[place]) if predicted[place] else np.nan, **figures}
        defined = {name: None if np.isnan(value) else value for name, value in figures.items()}
        table.append({"label": label, "rows": int(rows[place]), "predicted": int(predicted[place]), **defined})
    return table


def confusion(predictions: Predictions) -> list[list[int]]:
    """Return counts by true class (rows) and predicted class (columns)."""
    counts: list[list[int]] = Weighted.once(predictions).counts[0].astype(int).tolist()
    return counts
