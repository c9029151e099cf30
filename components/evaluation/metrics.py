"""Metrics of a classifier, with an interval where a share is estimated."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import (
    average_precision_score,
    cohen_kappa_score,
    confusion_matrix,
    matthews_corrcoef,
    precision_recall_fscore_support,
    roc_auc_score,
)

from components.evaluation.calibration import calibration_bins, calibration_error

Ids = NDArray[np.int64]
Probabilities = NDArray[np.float64]


@dataclass(frozen=True)
class Predictions:
    """What a classifier said: true class ids (N) and probabilities (N, C)."""

    truth: Ids
    probabilities: Probabilities

    @property
    def predicted(self) -> Ids:
        """Return the most probable class id of every row (N)."""
        return np.asarray(self.probabilities.argmax(axis=1))

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Return which rows (N) were right."""
        return np.asarray(self.predicted == self.truth)

    @property
    def averaged(self) -> list[int]:
        """Return the class ids that averages are over: of two classes the second, of more those with a row."""
        present = np.unique(self.truth).tolist()
        return [label for label in present if label == 1] if self.probabilities.shape[1] == 2 else present


def classification_metrics(predictions: Predictions, ordered: bool = False) -> dict[str, float]:
    """Return the metrics of N > 0 rows; one that is undefined on them is left out.

    With two classes precision, recall, F1, average precision and ROC AUC are those of the second class, the positive
    one; with more they are macro averages over the classes that have a row (the last two: one class against the rest).
    Loss is the log loss: the mean cross entropy in nats. Brier score: the mean squared error of the probabilities, of
    the second class or summed over classes. `ordered` says that class ids are steps of a scale, and adds the mean
    absolute error in steps and the kappa with quadratic weights (Cohen, "Weighted kappa", 1968).
    """
    truth, predicted = predictions.truth, predictions.predicted
    low, high = wilson_interval(int(predictions.correct.sum()), len(truth))
    true_probability = predictions.probabilities[np.arange(len(truth)), truth]
    found: dict[str, float | None] = {
        "loss": float(-np.log(np.clip(true_probability, 1e-12, None)).mean()),
        "accuracy": float(predictions.correct.mean()),
        "accuracy_low": low,
        "accuracy_high": high,
        **_averages(predictions),
        "matthews_correlation": float(matthews_corrcoef(truth, predicted)),
        "brier": _brier(predictions, true_probability),
        "calibration_error": calibration_error(
            calibration_bins(predictions.probabilities.max(axis=1), predictions.correct)
        ),
    }
    if ordered:
        found["mean_absolute_error"] = float(np.abs(predicted - truth).mean())
        found["quadratic_weighted_kappa"] = _kappa(predictions)
    return {name: value for name, value in found.items() if value is not None}


def per_class(predictions: Predictions, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Return, for each of the C labels, its rows and how well it is told from the rest; None where undefined.

    Precision is undefined for a class that was never predicted, the others for one that has no row.
    """
    classes = list(range(len(labels)))
    precision, recall, f1, rows = precision_recall_fscore_support(
        predictions.truth, predictions.predicted, labels=classes, zero_division=0
    )
    predicted = np.bincount(predictions.predicted, minlength=len(labels))
    return [
        {
            "label": labels[label],
            "rows": int(rows[label]),
            "predicted": int(predicted[label]),
            "precision": float(precision[label]) if predicted[label] else None,
            "recall": float(recall[label]) if rows[label] else None,
            "f1": float(f1[label]) if rows[label] else None,
            "average_precision": average_precision(predictions, label),
            "roc_auc": roc_auc(predictions, label),
        }
        for label in classes
    ]


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Return the 95 % score interval of a share (Wilson, "Probable Inference", 1927)."""
    interval = binomtest(successes, trials).proportion_ci(confidence_level=0.95, method="wilson")
    return float(interval.low), float(interval.high)


def confusion(predictions: Predictions) -> list[list[int]]:
    """Return counts by true class (rows) and predicted class (columns)."""
    classes = range(predictions.probabilities.shape[1])
    counts: list[list[int]] = confusion_matrix(predictions.truth, predictions.predicted, labels=list(classes)).tolist()
    return counts


def mcnemar(first: Predictions, second: Predictions) -> float:
    """Return the exact two-sided p value that two classifiers are equally often right on the same rows.

    McNemar, "Note on the sampling error of the difference between correlated proportions", 1947: only the
    rows on which exactly one of the two is right count.
    """
    return mcnemar_test(first.correct, second.correct)


def mcnemar_test(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Return the p value of `mcnemar` from who was right on which of the same rows (N)."""
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    if only_first + only_second == 0:
        return 1.0
    return float(binomtest(only_first, only_first + only_second).pvalue)


def average_precision(predictions: Predictions, label: int) -> float | None:
    """Return the average precision of one class against the rest, None where it has no row."""
    positive = predictions.truth == label
    return float(average_precision_score(positive, predictions.probabilities[:, label])) if positive.any() else None


def roc_auc(predictions: Predictions, label: int) -> float | None:
    """Return the area under the ROC curve of one class against the rest, None where it has no row or all of them."""
    positive = predictions.truth == label
    if positive.all() or not positive.any():
        return None
    return float(roc_auc_score(positive, predictions.probabilities[:, label]))


def _averages(predictions: Predictions) -> dict[str, float | None]:
    """Return what is averaged over classes, in the order of the report."""
    classes = list(range(predictions.probabilities.shape[1]))
    precision, recall, f1, rows = precision_recall_fscore_support(
        predictions.truth, predictions.predicted, labels=classes, zero_division=0
    )
    chosen = predictions.averaged
    return {
        "balanced_accuracy": float(recall[rows > 0].mean()),
        "precision": _mean([precision[label] for label in chosen]),
        "recall": _mean([recall[label] for label in chosen]),
        "f1": _mean([f1[label] for label in chosen]),
        "average_precision": _mean([average_precision(predictions, label) for label in chosen]),
        "roc_auc": _mean([roc_auc(predictions, label) for label in chosen]),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def _brier(predictions: Predictions, true_probability: Probabilities) -> float:
    """Return the Brier score (1950): over all classes, halved where there are two, as both err by the same."""
    probabilities = predictions.probabilities
    squares = (probabilities**2).sum(axis=1) - 2 * true_probability + 1
    return float(squares.mean() / (2 if probabilities.shape[1] == 2 else 1))


def _kappa(predictions: Predictions) -> float | None:
    """Return the kappa with quadratic weights, undefined where all rows are and were said to be of one class."""
    truth, predicted = predictions.truth, predictions.predicted
    if len(np.union1d(truth, predicted)) == 1:
        return None
    classes = list(range(predictions.probabilities.shape[1]))
    return float(cohen_kappa_score(truth, predicted, labels=classes, weights="quadratic"))
