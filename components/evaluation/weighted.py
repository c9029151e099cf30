"""Metrics of rows that count more or less often, for many weightings at once: what resampling needs.

A whole weight does what writing the row down so often would do. Averages are over the classes that have a row, and
leave out those without weight. A metric is nan where it is undefined.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from components.evaluation.labelled import Predictions

Floats = NDArray[np.float64]

BINS = 20
"""Bins of equal width from 0 to 1. Of two classes the likelier has a probability of 0.5 or more: ten bins are used."""


@dataclass(frozen=True, eq=False)
class Weighted:
    """N rows, and R weightings of them (R, N)."""

    rows: Any
    """`Predictions`, or a table with a line a response."""
    weights: Floats

    @classmethod
    def once(cls, rows: Any) -> "Weighted":
        """Return the rows with one weighting, in which each counts once."""
        return cls(rows, np.ones((1, len(rows))))

    @cached_property
    def counts(self) -> Floats:
        """The weight (R, C, C) of predictions by true class and predicted class."""
        classes = self.rows.classes
        cells = self.rows.truth * classes + self.rows.predicted
        return summed_at(self.weights, cells, classes**2).reshape(-1, classes, classes)

    @cached_property
    def by_class(self) -> tuple[Floats, Floats, Floats]:
        """The weight (R, C) of the rows of a class that are right, that there are, and that are predicted as it."""
        return np.diagonal(self.counts, axis1=1, axis2=2), self.counts.sum(axis=2), self.counts.sum(axis=1)

    @cached_property
    def _by_threshold(self) -> dict[int, tuple[Floats, Floats, Floats]]:
        return {}

    def by_threshold(self, label: int) -> tuple[Floats, Floats, Floats]:
        """Return weights by the K > 0 scores (thresholds, from the highest) that rows of a class have.

        All that ranks say of one class against the rest is how many others lie above each of its rows. So resamples are
        summed up between thresholds, by one sparse product, and rows need not be put in order for each. Returned are
        the weights of the class at each threshold (R, K), of others in between (R, K + 1: above the first, ..., below
        the last), and of others at each threshold (R, K).
        """
        if label not in self._by_threshold:
            score, positive = self.rows.probabilities[:, label], self.rows.truth == label
            levels = np.unique(score[positive])
            count = len(levels)
            above = count - np.searchsorted(levels, score, side="right")  # how many thresholds lie above a row's score
            others = np.where(np.isin(score, levels), 2 * count + 1 + above, count + above)
            summed = summed_at(self.weights, np.where(positive, above, others), 3 * count + 1)
            self._by_threshold[label] = (
                summed[:, :count], summed[:, count : 2 * count + 1], summed[:, 2 * count + 1 :]
            )  # fmt: skip
        return self._by_threshold[label]


@dataclass(frozen=True)
class MeanOf:
    """The mean of a value that each row has; a row whose value is nan is not counted."""

    values: Callable[[Any], Floats]
    """From N rows to their values (N)."""

    def __call__(self, weighted: Weighted) -> Floats:
        """Return the means (R)."""
        values, weights = self.values(weighted.rows), weighted.weights
        known = ~np.isnan(values)
        if not known.all():
            values, weights = values[known], weights[:, known]
        return _share(weights @ values, weights.sum(axis=1))


@dataclass(frozen=True)
class MeanOverClasses:
    """The mean of what classes have, where that is defined: of `Predictions.averaged`, or of all with a row."""

    of_class: Callable[[Weighted, int], Floats]
    """From rows and a class to its values (R)."""
    every: bool = False

    def __call__(self, weighted: Weighted) -> Floats:
        """Return the means (R)."""
        labels = range(weighted.rows.classes) if self.every else weighted.rows.averaged
        values = [self.of_class(weighted, label) for label in labels]
        table = np.column_stack([np.full(len(weighted.weights), np.nan), *values])
        defined = ~np.isnan(table)
        return _share(np.where(defined, table, 0.0).sum(axis=1), defined.sum(axis=1).astype(np.float64))


def column(name: str) -> Callable[[Any], Floats]:
    """Return what takes a column (N) of a table of responses."""
    return lambda rows: np.asarray(rows[name], np.float64)


def is_correct(predictions: Predictions) -> Floats:
    """Return 1 for rows (N) that are right, else 0."""
    return predictions.correct.astype(np.float64)


def log_losses(predictions: Predictions) -> Floats:
    """Return the cross entropy of each row (N), in nats."""
    return np.asarray(-np.log(np.clip(_true_probability(predictions), 1e-12, None)))


def squared_errors(predictions: Predictions) -> Floats:
    """Return what each row (N) adds to the Brier score (1950): halved of two classes, as both err by the same."""
    squares = (predictions.probabilities**2).sum(axis=1) - 2 * _true_probability(predictions) + 1
    return np.asarray(squares / (2 if predictions.classes == 2 else 1))


def steps_off(predictions: Predictions) -> Floats:
    """Return by how many steps of the scale each row (N) is off."""
    return np.asarray(np.abs(predictions.predicted - predictions.truth), np.float64)


def median_score(weighted: Weighted) -> Floats:
    """Return the median score (R) of responses that have one, whole weights given."""
    known = weighted.rows["score"].notna().to_numpy()
    scores = weighted.rows["score"].to_numpy(np.float64)[known]
    counts = weighted.weights[:, known].astype(np.int64)
    return np.array([np.median(np.repeat(scores, each)) if each.any() else np.nan for each in counts])


def unparsed_share(weighted: Weighted) -> Floats:
    """Return the share (R) of all verdicts, repeats counted, that could not be read."""
    unparsed, made = (weighted.weights @ column(name)(weighted.rows) for name in ("unparsed", "made"))
    return _share(unparsed, made)


def precision_of(weighted: Weighted, label: int) -> Floats:
    """Return the precision (R) of a class, 0 if it was never predicted; nan without a row."""
    right, there, predicted = (each[:, label] for each in weighted.by_class)
    return np.where(there > 0, np.nan_to_num(_share(right, predicted)), np.nan)


def recall_of(weighted: Weighted, label: int) -> Floats:
    """Return the recall (R) of a class; nan without a row."""
    right, there, _ = (each[:, label] for each in weighted.by_class)
    return _share(right, there)


def f1_of(weighted: Weighted, label: int) -> Floats:
    """Return F1 (R) of a class; nan without a row."""
    right, there, predicted = (each[:, label] for each in weighted.by_class)
    return np.where(there > 0, 2 * right / np.maximum(there + predicted, 1), np.nan)


def average_precision_of(weighted: Weighted, label: int) -> Floats:
    """Return the average precision (R) of a class with a row: precision at every threshold, by the recall won."""
    won, others, ties = weighted.by_threshold(label)
    right = won.cumsum(axis=1)
    above = right + (others[:, :-1] + ties).cumsum(axis=1)
    return _share((won * right / np.maximum(above, 1)).sum(axis=1), right[:, -1])


def roc_auc_of(weighted: Weighted, label: int) -> Floats:
    """Return the area under the ROC curve (R) of a class with a row against the rest.

    That is the share of pairs of a row of the class and another in which the former scores higher, ties half.
    """
    won, others, ties = weighted.by_threshold(label)
    lost = others.cumsum(axis=1)[:, :-1] + np.cumsum(ties, axis=1) - ties / 2
    below = others.sum(axis=1, keepdims=True) + ties.sum(axis=1, keepdims=True) - lost
    pairs = (won * below).sum(axis=1)
    return _share(pairs, won.sum(axis=1) * (others.sum(axis=1) + ties.sum(axis=1)))


def matthews_correlation(weighted: Weighted) -> Floats:
    """Return Gorodkin's correlation of truth and prediction (R), 0 where one of them is always the same."""
    right, there, predicted = weighted.by_class
    total = there.sum(axis=1)
    covariance = right.sum(axis=1) * total - (there * predicted).sum(axis=1)
    spread = (total**2 - (predicted**2).sum(axis=1)) * (total**2 - (there**2).sum(axis=1))
    return np.nan_to_num(_share(covariance, np.sqrt(spread)))


def quadratic_weighted_kappa(weighted: Weighted) -> Floats:
    """Return the kappa with quadratic weights (R; Cohen, "Weighted kappa", 1968).

    Undefined where all rows are of one class, and were predicted to be.
    """
    classes = weighted.counts.shape[1]
    steps = np.subtract.outer(np.arange(classes), np.arange(classes)) ** 2
    _, there, predicted = weighted.by_class
    by_chance = np.einsum("rt,ts,rs->r", there, steps, predicted) / there.sum(axis=1)
    return 1 - _share((weighted.counts * steps).sum(axis=(1, 2)), by_chance)


def calibration_error(weighted: Weighted) -> Floats:
    """Return the expected calibration error (R): the mean gap between probability and share right, rows counting alike.

    Naeini, Cooper and Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning", 2015, on the
    predicted class as in Guo et al., "On Calibration of Modern Neural Networks", 2017.
    """
    rows = weighted.rows
    gaps = summed_at(weighted.weights, bins_of(rows), BINS, rows.confidence - rows.correct)
    return _share(np.abs(gaps).sum(axis=1), weighted.weights.sum(axis=1))


def bins_of(predictions: Predictions) -> NDArray[np.int64]:
    """Return in which bin, (n / BINS, (n + 1) / BINS], the probability of each row's (N) predicted class lies."""
    return np.clip(np.ceil(predictions.confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)


def summed_at(weights: Floats, place: NDArray[np.int64], places: int, values: Floats | None = None) -> Floats:
    """Return the sums (R, places) of weights (R, N), times a value (N) each, over the rows at each place (N)."""
    rows = np.arange(len(place))
    values = np.ones(len(place)) if values is None else values
    table = csr_array((values, (place, rows)), shape=(places, len(place)))
    return np.asarray((table @ weights.T).T)


def _true_probability(predictions: Predictions) -> Floats:
    return np.asarray(predictions.probabilities[np.arange(len(predictions)), predictions.truth])


def _share(part: Floats, whole: Floats) -> Floats:
    """Divide, with nan where the whole is 0."""
    missing = np.full(np.broadcast(part, whole).shape, np.nan)
    return np.asarray(np.divide(part, whole, out=missing, where=whole > 0))
