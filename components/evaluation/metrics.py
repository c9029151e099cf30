"""Metrics of a classifier, with intervals where a share is estimated."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    confusion_matrix,
    precision_recall_fscore_support,
)

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


def classification_metrics(predictions: Predictions) -> dict[str, float]:
    """Return loss, accuracy with its 95 % Wilson interval, precision, recall, F1 and average precision.

    With two classes the last four are those of the second class, the positive one; with more they are macro
    averages (average precision: one class against the rest). Loss is the mean cross entropy in nats.
    """
    truth, probabilities = predictions.truth, predictions.probabilities
    classes = list(range(probabilities.shape[1]))
    average = "binary" if len(classes) == 2 else "macro"
    precision, recall, f1, _ = precision_recall_fscore_support(
        truth, predictions.predicted, labels=[1] if len(classes) == 2 else classes, average=average, zero_division=0
    )
    low, high = wilson_interval(int(predictions.correct.sum()), len(truth))
    true_probability = probabilities[np.arange(len(truth)), truth]
    return {
        "loss": float(-np.log(np.clip(true_probability, 1e-12, None)).mean()),
        "accuracy": float(predictions.correct.mean()),
        "accuracy_low": low,
        "accuracy_high": high,
        "balanced_accuracy": float(balanced_accuracy_score(truth, predictions.predicted)),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "average_precision": _average_precision(truth, probabilities),
    }


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
    only_first = int((first.correct & ~second.correct).sum())
    only_second = int((second.correct & ~first.correct).sum())
    if only_first + only_second == 0:
        return 1.0
    return float(binomtest(only_first, only_first + only_second).pvalue)


def _average_precision(truth: Ids, probabilities: Probabilities) -> float:
    if probabilities.shape[1] == 2:
        return float(average_precision_score(truth, probabilities[:, 1]))
    one_hot = np.eye(probabilities.shape[1], dtype=int)[truth]
    return float(average_precision_score(one_hot, probabilities, average="macro"))
