"""What a run's figures say: the ones to read first, beside the baselines, and the limits that they show."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from components.core.records import Facts, Manifest
from components.evaluation.metrics import LABELS

SPLITS = ("train", "validation", "test")
BASELINES = {"svm": "n-grams + SVM", "tfidf": "TF-IDF + LR", "majority": "majority"}
"""The baselines and what their columns are called."""

WIDE = 0.02
"""Half an accuracy interval from which on a test set counts as small."""
FEW_ROWS = 50
"""Rows of a class in the test set below which its figures are rough."""
MISCALIBRATED = 0.05
OVERFITTED = 0.05
"""Accuracy on train above the one on test from which on it is worth a word."""
SHIFTED = 0.05
"""By how much a class's share may differ between train and test."""


@dataclass(frozen=True)
class KeyFigure:
    """A metric of the model with its 95 % interval, if it has one, beside the baselines'."""

    name: str
    title: str
    model: float
    low: float | None
    high: float | None
    baselines: Mapping[str, float | None]
    """The baselines' values, by name, in the order of `BASELINES`."""

    @property
    def interval(self) -> str:
        """The interval in words, or nothing."""
        return "" if self.low is None or self.high is None else f"{self.low:.4f} to {self.high:.4f}"


def key_figures(metrics: Mapping[str, float], split: str = "test") -> list[KeyFigure]:
    """Return the figures of a split that one looks for, in order of interest."""
    return [
        KeyFigure(
            metric.name,
            metric.title_with_unit,
            metrics[f"{split}/{metric.name}"],
            metrics.get(f"{split}/{metric.name}_low"),
            metrics.get(f"{split}/{metric.name}_high"),
            {baseline: metrics.get(f"{baseline}/{split}/{metric.name}") for baseline in BASELINES},
        )
        for metric in LABELS
        if f"{split}/{metric.name}" in metrics
    ]


def metrics_rows(facts: Facts) -> list[dict[str, Any]]:
    """Return the metrics as rows, one a metric and split, with the model beside the baselines."""
    return [
        {
            "split": split,
            "metric": figure.title,
            "model": _rounded(figure.model),
            "95 % interval": figure.interval,
            **{BASELINES[name]: _rounded(value) for name, value in figure.baselines.items()},
        }
        for split in reversed(SPLITS)
        for figure in key_figures(facts["metrics"], split)
    ]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def positive_class(facts: Facts) -> str:
    """Say whose precision, recall and so on the figures are."""
    labels = facts["labels"]
    if len(labels) == 2:
        return f"Precision, recall, F1, average precision and ROC AUC are those of the label “{labels[1]}”."
    return "Precision, recall, F1, average precision and ROC AUC are means over the labels."


def limits(manifests: Mapping[str, Manifest]) -> list[str]:
    """Return what the evidence says against the model or against its figures, one sentence each."""
    splits, scores = manifests["split"].facts, manifests["evaluate"].facts
    return [
        *_on_the_test_set(splits, scores),
        *_on_the_model(splits, scores),
        *_on_the_data(manifests["validate"].facts, splits),
        "Nothing was measured on texts from elsewhere: other sources, languages or years may differ.",
    ]


def _on_the_test_set(splits: Facts, scores: Facts) -> Iterator[str]:
    metrics, rows = scores["metrics"], splits["rows"]["test"]
    folded = splits["overlap"]["test"]["folded"]
    if folded:
        yield f"{folded:,} of {rows:,} test rows also stand in train, but for case, digits or blanks: figures flatter."
    half = (metrics["test/accuracy_high"] - metrics["test/accuracy_low"]) / 2
    if half > WIDE:
        yield f"The test set is small: {rows:,} rows give the accuracy to within {100 * half:.1f} points (95 %)."
    few = [f"{each['label']} ({each['rows']:,})" for each in scores["per_class"]["test"] if each["rows"] < FEW_ROWS]
    if few:
        yield f"Labels with fewer than {FEW_ROWS} test rows, whose own figures are rough: {', '.join(few)}."


def _on_the_model(splits: Facts, scores: Facts) -> Iterator[str]:
    metrics = scores["metrics"]
    if metrics["test/calibration_error"] > MISCALIBRATED:
        yield (
            f"Its probabilities are off by {100 * metrics['test/calibration_error']:.1f} points on average: "
            "calibrate them before a threshold is set on them."
        )
    gap = metrics["train/accuracy"] - metrics["test/accuracy"]
    if gap > OVERFITTED:
        yield f"It is {100 * gap:.1f} points better on the texts that it was trained on than on the test set."
    cut = scores["lengths"]["test"]["cut_share"]
    if cut:
        yield f"{100 * cut:.1f} % of the test texts are longer than {scores['max_length']:,} tokens and read in part."
    shares = {split: _shares(splits["classes"][split]) for split in ("train", "test")}
    if max(abs(shares["train"][label] - share) for label, share in shares["test"].items()) > SHIFTED:
        yield "It was trained on other shares of the labels than the test set has; its probabilities follow the former."


def _on_the_data(checked: Facts, splits: Facts) -> Iterator[str]:
    left_out = checked["rows_in"] - checked["rows_out"]
    if left_out:
        yield f"{left_out:,} of {checked['rows_in']:,} rows failed validation and were left out of all splits."
    folded = splits["overlap"]["validation"]["folded"]
    if folded:
        yield f"{folded:,} validation rows also stand in train: the step that was kept may not be the best."


def _shares(counts: Mapping[str, int]) -> dict[str, float]:
    total = max(1, sum(counts.values()))
    return {label: count / total for label, count in counts.items()}
