"""Whether a classifier is right as often as its probabilities say."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 20
"""Bins of equal width from 0 to 1. Of two classes the likelier has a probability of 0.5 or more: ten bins are used."""


@dataclass(frozen=True)
class CalibrationBin:
    """Rows whose probability lies in (low, high]: how many, their mean probability, and what share was right."""

    low: float
    high: float
    rows: int
    confidence: float
    accuracy: float


def calibration_bins(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> list[CalibrationBin]:
    """Return the bins that hold a row.

    Args:
        confidence: probability of the predicted class of every row (N).
        correct: which rows (N) were right.
    """
    position = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    rows = np.bincount(position, minlength=BINS)
    confidences = np.bincount(position, weights=confidence, minlength=BINS)
    right = np.bincount(position, weights=correct, minlength=BINS)
    return [
        CalibrationBin(
            low=place / BINS,
            high=(place + 1) / BINS,
            rows=int(rows[place]),
            confidence=float(confidences[place] / rows[place]),
            accuracy=float(right[place] / rows[place]),
        )
        for place in np.flatnonzero(rows).tolist()
    ]


def calibration_error(bins: list[CalibrationBin]) -> float:
    """Return the expected calibration error: the mean gap between probability and share right, rows counting alike.

    Naeini, Cooper and Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning", 2015, on the
    predicted class as in Guo et al., "On Calibration of Modern Neural Networks", 2017.
    """
    rows = sum(each.rows for each in bins)
    return sum(each.rows * abs(each.confidence - each.accuracy) for each in bins) / rows
