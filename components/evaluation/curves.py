"""Curves of a classifier over all thresholds, thin enough to be drawn; and other tables that figures are made of."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from components.evaluation.labelled import Predictions
from components.evaluation.scoring import Scored
from components.evaluation.weighted import BINS, Weighted, average_precision_of, bins_of, roc_auc_of

Floats = NDArray[np.float64]

POINTS = 400
"""Points a curve keeps at most, at even distances along it."""
CHOSEN_ON = ("validation", "test")
"""The split on which a threshold is chosen, and the one that says what it costs."""
THRESHOLDS = 401
"""Thresholds from 0 to 1, one half among them."""
CURVES = ("model", "svm", "tfidf")
"""Whose curves are drawn; the majority class has none to speak of."""


def curves_table(scored: Scored, labels: list[str]) -> pd.DataFrame:
    """Return ROC and precision-recall curves of a split, one class against the rest.

    Columns: `classifier`, `label`, `curve` (`roc`, `precision_recall`), `area` (ROC AUC, average precision), and `x`
    and `y`: false and true positive rate, or recall and precision from recall 1 down. Of two classes only the second
    has curves; a class without a row, or with all rows, has none.
    """
    parts = [
        pd.DataFrame({"classifier": name, "label": labels[label], "curve": curve, "area": area, "x": x, "y": y})
        for name in CURVES
        for label in scored.predictions[name].averaged
        for curve, area, x, y in _curves(scored.predictions[name], label)
    ]
    columns = dict.fromkeys(["classifier", "label", "curve"], "str") | dict.fromkeys(["area", "x", "y"], "float64")
    return pd.concat([pd.DataFrame(columns=list(columns)), *parts], ignore_index=True).astype(columns)


def thresholds_table(scored: Mapping[str, Scored], miss_cost: float) -> pd.DataFrame:
    """Return what the second of two labels is found by at every threshold of the model's probability.

    Columns: `split` (validation, test), `threshold`, `precision` (nan where nothing is found), `recall`, and `cost`:
    the mean over rows, where a false alarm costs 1 and a miss `miss_cost`. No rows for more than two labels, or for a
    split without one of the two.
    """
    parts = [
        _at_thresholds(scored[split].predictions["model"], miss_cost).assign(split=split)
        for split in CHOSEN_ON
        if scored[split].predictions["model"].classes == 2 and len(set(scored[split].predictions["model"].truth)) == 2
    ]
    columns = ["split", "threshold", "precision", "recall", "cost"]
    return pd.concat([pd.DataFrame(columns=columns, dtype="float64"), *parts], ignore_index=True)[columns]


def _at_thresholds(predictions: Predictions, miss_cost: float) -> pd.DataFrame:
    positive, score = predictions.truth == 1, predictions.probabilities[:, 1]
    thresholds = np.linspace(0, 1, THRESHOLDS)
    hits, alarms = (
        len(scores) - np.searchsorted(np.sort(scores), thresholds, side="left") for scores in (score[positive], score)
    )
    misses, false = positive.sum() - hits, alarms - hits
    precision = np.divide(hits, alarms, out=np.full(THRESHOLDS, np.nan), where=alarms > 0)
    cost = (false + miss_cost * misses) / len(score)
    return pd.DataFrame(
        {"threshold": thresholds, "precision": precision, "recall": hits / positive.sum(), "cost": cost}
    )


def cheapest_threshold(table: pd.DataFrame) -> dict[str, float] | None:
    """Return the threshold that is cheapest on the validation split (of several the one nearest to one half).

    `threshold`, and on the test split `cost`, `precision`, `recall` there and `cost_at_half`; None if there is no such.
    """
    validation, test = (table[table["split"] == split].reset_index(drop=True) for split in CHOSEN_ON)
    if validation.empty or test.empty:
        return None
    cheap = validation[validation["cost"] <= validation["cost"].min() + 1e-12]
    place = int((cheap["threshold"] - 0.5).abs().idxmin())
    found = test.loc[place, ["threshold", "cost", "precision", "recall"]].fillna(0.0).astype(float).to_dict()
    return {**{str(name): value for name, value in found.items()}, "cost_at_half": float(test["cost"][THRESHOLDS // 2])}


def calibration_table(scored: Mapping[str, Scored]) -> pd.DataFrame:
    """Return the calibration bins of every split: `split`, `classifier`, and the columns of `calibration_bins`."""
    found = {(split, name): each.predictions[name] for split, each in scored.items() for name in CURVES}
    bins = {key: calibration_bins(predictions) for key, predictions in found.items()}
    return pd.concat(bins, names=["split", "classifier"]).reset_index(["split", "classifier"]).reset_index(drop=True)


def calibration_bins(predictions: Predictions) -> pd.DataFrame:
    """Return the bins, from `low` to `high`, with their `rows`, mean probability (`confidence`) and share right
    (`accuracy`); those that hold a row."""
    low = bins_of(predictions) / BINS
    table = pd.DataFrame({"low": low, "confidence": predictions.confidence, "accuracy": predictions.correct})
    names = {"rows": ("low", "size"), "confidence": ("confidence", "mean"), "accuracy": ("accuracy", "mean")}
    found: pd.DataFrame = table.groupby("low").agg(**names).reset_index()
    found.insert(1, "high", found["low"] + 1 / BINS)
    return found


def lengths_table(scored: Mapping[str, Scored]) -> pd.DataFrame:
    """Return how many texts of a split have how many tokens before they are cut: `split`, `tokens`, `rows`."""
    parts = []
    for split, found in scored.items():
        tokens, rows = np.unique(found.lengths, return_counts=True)
        parts.append(pd.DataFrame({"split": split, "tokens": tokens, "rows": rows}))
    return pd.concat(parts, ignore_index=True)


def _curves(predictions: Predictions, label: int) -> Iterator[tuple[str, float, Floats, Floats]]:
    positive = predictions.truth == label
    if positive.all() or not positive.any():
        return
    score, once = predictions.probabilities[:, label], Weighted.once(predictions)
    false_rate, true_rate, _ = roc_curve(positive, score)
    yield "roc", float(roc_auc_of(once, label)[0]), *thin(false_rate, true_rate)
    precision, recall, _ = precision_recall_curve(positive, score)
    yield "precision_recall", float(average_precision_of(once, label)[0]), *thin(recall, precision)


def thin(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return at most `POINTS` points of a curve, its ends among them."""
    if len(x) <= POINTS:
        return x, y
    travelled = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    kept = np.searchsorted(travelled, np.linspace(0, travelled[-1], POINTS))
    kept[-1] = len(x) - 1
    kept = np.unique(kept)
    return x[kept], y[kept]
