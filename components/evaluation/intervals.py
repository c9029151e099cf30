"""Intervals of metrics that are no simple shares, by the bootstrap.

Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13: rows are drawn again with replacement, and
the interval holds the middle 95 % of what the metric then is. Rows count as independent of each other.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

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
    score = predictions.probabilities[:, label]
    order = np.argsort(-score, kind="stable")
    last_of_tie = np.append(np.diff(score[order]) != 0, True)
    drawn = weights[:, order]
    all_above = drawn.cumsum(axis=1)[:, last_of_tie]
    right_above = (drawn * (predictions.truth == label)[order]).cumsum(axis=1)[:, last_of_tie]
    won = np.diff(right_above, axis=1, prepend=0.0)
    total = right_above[:, -1]
    summed = (won * right_above / np.maximum(all_above, 1)).sum(axis=1)
    return np.where(total > 0, summed / np.maximum(total, 1), np.nan)


def _mean(values: Floats) -> Floats:
    """Return the mean over classes (R, C) to (R), of those that are defined."""
    defined = ~np.isnan(values)
    count = defined.sum(axis=1)
    return np.where(count > 0, np.where(defined, values, 0.0).sum(axis=1) / np.maximum(count, 1), np.nan)
