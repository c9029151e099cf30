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

from components.evaluation.calibration import BINS
from components.evaluation.labelled import Predictions

Floats = NDArray[np.float64]


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
    def _by_threshold(self) -> dict[int, tuple[Floats, Floats, Floats]]:
        return {}

    def by_threshold(self, label: int) -> tuple[Floats, Floats, Floats]:
        """Return `Thresholds.sums` of a class that has a row."""
        if label not in self._by_threshold:
            self._by_threshold[label] = Thresholds.of(self.rows, label).sums(self.weights)
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


def precision(weighted: Weighted) -> Floats:
    """Return the precision (R), 0 of a class that was never predicted."""
    right, there, said = _margins(weighted)
    missing = np.where(there > 0, 0.0, np.nan)
    return _mean((np.nan_to_num(_share(right, said)) + missing)[:, weighted.rows.averaged])


def recall(weighted: Weighted) -> Floats:
    """Return the recall (R)."""
    right, there, _ = _margins(weighted)
    return _mean(_share(right, there)[:, weighted.rows.averaged])


def f1(weighted: Weighted) -> Floats:
    """Return F1 (R)."""
    right, there, said = _margins(weighted)
    missing = np.where(there > 0, 0.0, np.nan)
    return _mean((2 * right / np.maximum(there + said, 1) + missing)[:, weighted.rows.averaged])


def balanced_accuracy(weighted: Weighted) -> Floats:
    """Return the mean recall (R) of all classes that have a row."""
    right, there, _ = _margins(weighted)
    return _mean(_share(right, there))


def average_precision(weighted: Weighted) -> Floats:
    """Return the average precision (R)."""
    return _over_classes(average_precision_of, weighted)


def roc_auc(weighted: Weighted) -> Floats:
    """Return the area under the ROC curve (R)."""
    return _over_classes(roc_auc_of, weighted)


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
    right, there, said = _margins(weighted)
    total = there.sum(axis=1)
    covariance = right.sum(axis=1) * total - (there * said).sum(axis=1)
    spread = (total**2 - (said**2).sum(axis=1)) * (total**2 - (there**2).sum(axis=1))
    return np.nan_to_num(_share(covariance, np.sqrt(spread)))


def quadratic_weighted_kappa(weighted: Weighted) -> Floats:
    """Return the kappa with quadratic weights (R; Cohen, "Weighted kappa", 1968).

    Undefined where all rows are and were said to be of one class.
    """
    classes = weighted.counts.shape[1]
    steps = np.subtract.outer(np.arange(classes), np.arange(classes)) ** 2
    _, there, said = _margins(weighted)
    by_chance = np.einsum("rt,ts,rs->r", there, steps, said) / there.sum(axis=1)
    return 1 - _share((weighted.counts * steps).sum(axis=(1, 2)), by_chance)


def calibration_error(weighted: Weighted) -> Floats:
    """Return the expected calibration error (R), with the bins of `calibration_bins`."""
    confidence = weighted.rows.probabilities.max(axis=1)
    place = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    gaps = summed_at(weighted.weights, place, BINS, confidence - weighted.rows.correct)
    return _share(np.abs(gaps).sum(axis=1), weighted.weights.sum(axis=1))


@dataclass(frozen=True)
class Thresholds:
    """The K > 0 scores that rows of a class have, from the highest, and where other rows lie between them.

    All that ranks say of one class against the rest is how many others lie above each of its rows. So resamples are
    summed up between thresholds, by one sparse product, and rows need not be put in order for each.
    """

    count: int
    """K."""
    positive: NDArray[np.bool_]
    """Which rows (N) are of the class."""
    place: NDArray[np.int64]
    """Of each row (N) how many thresholds lie above its score, 0 to K."""
    tied: NDArray[np.bool_]
    """Which rows (N) have a threshold for their score."""

    @classmethod
    def of(cls, predictions: Predictions, label: int) -> "Thresholds":
        """Return the thresholds of a class that has a row."""
        score = predictions.probabilities[:, label]
        positive = predictions.truth == label
        levels = np.unique(score[positive])
        place = len(levels) - np.searchsorted(levels, score, side="right")
        tied = np.isin(score, levels)
        return cls(len(levels), positive, place.astype(np.int64), tied)

    def sums(self, weights: Floats) -> tuple[Floats, Floats, Floats]:
        """Return the weight, for each weighting (R), of the class at each threshold (R, K), of others in between
        (R, K + 1: above the first, ..., below the last), and of others at each threshold (R, K)."""
        others = np.where(self.tied, 2 * self.count + 1 + self.place, self.count + self.place)
        summed = summed_at(weights, np.where(self.positive, self.place, others), 3 * self.count + 1)
        return summed[:, : self.count], summed[:, self.count : 2 * self.count + 1], summed[:, 2 * self.count + 1 :]


def summed_at(weights: Floats, place: NDArray[np.int64], places: int, values: Floats | None = None) -> Floats:
    """Return the sums (R, places) of weights (R, N), times a value (N) each, over the rows at each place (N)."""
    rows = np.arange(len(place))
    values = np.ones(len(place)) if values is None else values
    table = csr_array((values, (place, rows)), shape=(places, len(place)))
    return np.asarray((table @ weights.T).T)


def _true_probability(predictions: Predictions) -> Floats:
    return np.asarray(predictions.probabilities[np.arange(len(predictions)), predictions.truth])


def _margins(weighted: Weighted) -> tuple[Floats, Floats, Floats]:
    """Return the weight (R, C) of the rows that are right, of a class, and said to be of it."""
    counts = weighted.counts
    return np.diagonal(counts, axis1=1, axis2=2), counts.sum(axis=2), counts.sum(axis=1)


def _over_classes(of_class: Callable[[Weighted, int], Floats], weighted: Weighted) -> Floats:
    found = [of_class(weighted, label) for label in weighted.rows.averaged]
    return _mean(np.column_stack([np.empty((len(weighted.weights), 0)), *found]))


def _share(part: Floats, whole: Floats) -> Floats:
    """Divide, with nan where the whole is 0."""
    missing = np.full(np.broadcast(part, whole).shape, np.nan)
    return np.asarray(np.divide(part, whole, out=missing, where=whole > 0))


def _mean(values: Floats) -> Floats:
    """Return the mean over classes (R, C) to (R), of those that are defined."""
    defined = ~np.isnan(values)
    return _share(np.where(defined, values, 0.0).sum(axis=1), defined.sum(axis=1).astype(np.float64))
