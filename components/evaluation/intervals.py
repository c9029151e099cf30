"""Intervals of metrics that are no simple shares, by the bootstrap.

Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13: rows are drawn again with replacement, and
the interval holds the middle 95 % of what the metric then is. Rows count as independent of each other.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from components.evaluation.metrics import Predictions

RESAMPLES, FEWEST_RESAMPLES = 1000, 200
BUDGET = 200_000_000
"""Resamples times rows times classes at most, while more than the fewest resamples are left."""
BLOCK = 4_000_000
"""Resamples times rows in memory at once."""

Floats = NDArray[np.float64]


def bootstrap_intervals(predictions: Predictions, seed: int = 0) -> dict[str, float]:
    """Return `f1_low`, `f1_high` and so on: 95 % intervals of F1, balanced accuracy and average precision.

    They are defined as in `classification_metrics`; a metric undefined in every resample is left out. Same rows and
    seed: same intervals.
    """
    blocks = [resampled_metrics(predictions, weights) for weights in resamples(predictions, seed)]
    intervals: dict[str, float] = {}
    for name in blocks[0]:
        values = np.concatenate([block[name] for block in blocks])
        if (defined := values[~np.isnan(values)]).size:
            low, high = np.quantile(defined, [0.025, 0.975])
            intervals |= {f"{name}_low": float(low), f"{name}_high": float(high)}
    return intervals


def resamples(predictions: Predictions, seed: int) -> Iterator[Floats]:
    """Yield how often each row was drawn (R, N), in blocks of resamples that fit into memory.

    The same for predictions of the same rows and classes, so that two models can be compared in pairs.
    """
    rows, classes = predictions.probabilities.shape
    yield from drawn_rows(rows, classes, seed)


def drawn_rows(rows: int, width: int, seed: int) -> Iterator[Floats]:
    """Yield how often each of `rows` > 0 rows of `width` values was drawn (R, N), in blocks that fit into memory."""
    resamples = int(np.clip(BUDGET // (rows * width), FEWEST_RESAMPLES, RESAMPLES))
    generator = np.random.default_rng(seed)
    size = max(1, BLOCK // rows)
    for start in range(0, resamples, size):
        block = min(size, resamples - start)
        drawn = generator.integers(rows, size=(block, rows)) + np.arange(block)[:, None] * rows
        yield np.bincount(drawn.ravel(), minlength=block * rows).reshape(block, rows).astype(np.float64)


def resampled_means(values: Floats, seed: int = 0) -> Floats:
    """Return the means of resamples (R, K) of N > 0 rows of K values each (N, K); the same rows for all K."""
    rows, width = values.shape
    return np.concatenate([weights @ values / rows for weights in drawn_rows(rows, width, seed)])


def middle(values: Floats) -> tuple[float, float]:
    """Return the ends between which 95 % of the values lie."""
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def resampled_metrics(predictions: Predictions, weights: Floats) -> dict[str, Floats]:
    """Return the metrics (R) of resamples given as weights (R, N); nan where undefined."""
    identity = np.eye(predictions.probabilities.shape[1])
    right = weights @ (identity[predictions.truth] * predictions.correct[:, None])  # (R, C)
    there = weights @ identity[predictions.truth]
    said = weights @ identity[predictions.predicted]
    missing = np.where(there > 0, 0.0, np.nan)
    chosen = predictions.averaged
    precisions = [_average_precision(predictions, label, weights) for label in chosen]
    return {
        "f1": _mean((2 * right / np.maximum(there + said, 1) + missing)[:, chosen]),
        "balanced_accuracy": _mean(right / np.maximum(there, 1) + missing),
        "average_precision": _mean(np.column_stack([np.empty((len(weights), 0)), *precisions])),
    }


def _average_precision(predictions: Predictions, label: int, weights: Floats) -> Floats:
    """Return the average precision (R) of one class against the rest: precision at every threshold, by recall won."""
    found = Thresholds.of(predictions, label)
    won, others, ties = found.sums(weights)
    right = won.cumsum(axis=1)
    above = right + (others[:, :-1] + ties).cumsum(axis=1)
    total = right[:, -1:]
    summed = (won * right / np.maximum(above, 1)).sum(axis=1, keepdims=True)
    return np.where(total > 0, summed / np.maximum(total, 1), np.nan)[:, 0]


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


def _mean(values: Floats) -> Floats:
    """Return the mean over classes (R, C) to (R), of those that are defined."""
    defined = ~np.isnan(values)
    count = defined.sum(axis=1)
    return np.where(count > 0, np.where(defined, values, 0.0).sum(axis=1) / np.maximum(count, 1), np.nan)
