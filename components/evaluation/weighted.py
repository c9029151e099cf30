"""A classifier's metrics where rows count more or less often, for many weightings at once."""

import numpy as np
from numpy.typing import NDArray

from components.evaluation.calibration import BINS
from components.evaluation.intervals import Thresholds, resampled_metrics, summed_at
from components.evaluation.metrics import Predictions

Floats = NDArray[np.float64]


def weighted_metrics(predictions: Predictions, weights: Floats, ordered: bool = False) -> dict[str, Floats]:
    """Return metrics (R) of R weightings (R, N) of the N rows; nan where one is undefined.

    They are those of `classification_metrics` without its intervals: a whole weight does what writing the row down so
    often would do. Averages are over the classes that have a row in `predictions`, and leave out those without weight.
    """
    total = weights.sum(axis=1)
    true_probability = predictions.probabilities[np.arange(len(predictions.truth)), predictions.truth]
    counts = _counts(predictions, weights)
    found = {
        "accuracy": weights @ predictions.correct / total,
        **resampled_metrics(predictions, weights),
        **_from_counts(counts, predictions.averaged),
        "roc_auc": _roc_auc(predictions, weights),
        "matthews_correlation": _matthews(counts),
        "calibration_error": _calibration_error(predictions, weights) / total,
        "brier": weights @ _squares(predictions.probabilities, true_probability) / total,
        "loss": weights @ -np.log(np.clip(true_probability, 1e-12, None)) / total,
    }
    if ordered:
        found["quadratic_weighted_kappa"] = _kappa(counts)
        found["mean_absolute_error"] = weights @ np.abs(predictions.predicted - predictions.truth) / total
    return found


def _counts(predictions: Predictions, weights: Floats) -> Floats:
    """Return the weight (R, C, C) of rows by true class and predicted class."""
    classes = predictions.probabilities.shape[1]
    cells = predictions.truth * classes + predictions.predicted
    return summed_at(weights, cells, classes**2).reshape(-1, classes, classes)


def _from_counts(counts: Floats, chosen: list[int]) -> dict[str, Floats]:
    right = np.diagonal(counts, axis1=1, axis2=2)
    there, said = counts.sum(axis=2), counts.sum(axis=1)
    missing = np.where(there > 0, 0.0, np.nan)
    return {
        "precision": _mean((np.nan_to_num(_share(right, said)) + missing)[:, chosen]),
        "recall": _mean(_share(right, there)[:, chosen]),
    }


def _roc_auc(predictions: Predictions, weights: Floats) -> Floats:
    areas = [_area(predictions, label, weights) for label in predictions.averaged]
    return _mean(np.column_stack([np.empty((len(weights), 0)), *areas]))


def _area(predictions: Predictions, label: int, weights: Floats) -> Floats:
    """Return the area under the ROC curve (R) of one class against the rest.

    That is the share of pairs of a row of the class and another in which the former scores higher, ties half.
    """
    won, others, ties = Thresholds.of(predictions, label).sums(weights)
    lost = others.cumsum(axis=1)[:, :-1] + np.cumsum(ties, axis=1) - ties / 2
    below = others.sum(axis=1, keepdims=True) + ties.sum(axis=1, keepdims=True) - lost
    pairs = (won * below).sum(axis=1)
    return _share(pairs, won.sum(axis=1) * (others.sum(axis=1) + ties.sum(axis=1)))


def _matthews(counts: Floats) -> Floats:
    """Return Gorodkin's correlation of truth and prediction (R), 0 where one of them is always the same."""
    right = np.trace(counts, axis1=1, axis2=2)
    there, said = counts.sum(axis=2), counts.sum(axis=1)
    total = there.sum(axis=1)
    covariance = right * total - (there * said).sum(axis=1)
    spread = (total**2 - (said**2).sum(axis=1)) * (total**2 - (there**2).sum(axis=1))
    return np.nan_to_num(_share(covariance, np.sqrt(spread)))


def _kappa(counts: Floats) -> Floats:
    """Return the kappa with quadratic weights (R), undefined where all rows are and were said to be of one class."""
    classes = counts.shape[1]
    steps = np.subtract.outer(np.arange(classes), np.arange(classes)) ** 2
    there, said = counts.sum(axis=2), counts.sum(axis=1)
    by_chance = np.einsum("rt,ts,rs->r", there, steps, said) / there.sum(axis=1)
    return 1 - _share((counts * steps).sum(axis=(1, 2)), by_chance)


def _calibration_error(predictions: Predictions, weights: Floats) -> Floats:
    """Return the expected calibration error times the rows' weight (R), with the bins of `calibration_bins`."""
    confidence = predictions.probabilities.max(axis=1)
    place = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    return np.asarray(np.abs(summed_at(weights, place, BINS, confidence - predictions.correct)).sum(axis=1))


def _squares(probabilities: Floats, true_probability: Floats) -> Floats:
    """Return what each row (N) adds to the Brier score."""
    squares = (probabilities**2).sum(axis=1) - 2 * true_probability + 1
    return np.asarray(squares / (2 if probabilities.shape[1] == 2 else 1))


def _share(part: Floats, whole: Floats) -> Floats:
    """Divide, with nan where the whole is 0."""
    missing = np.full(np.broadcast(part, whole).shape, np.nan)
    return np.asarray(np.divide(part, whole, out=missing, where=whole > 0))


def _mean(values: Floats) -> Floats:
    """Return the mean over classes (R, C) to (R), of those that are defined."""
    defined = ~np.isnan(values)
    return _share(np.where(defined, values, 0.0).sum(axis=1), defined.sum(axis=1).astype(np.float64))
