"""What the figures of a classification run say."""

from collections.abc import Iterator, Mapping
from typing import Any

from components.core.records import Facts, Manifest
from components.evaluation.metrics import LABELS, METRICS
from components.reporting.evidence import (
    DECIMAL,
    SPLITS,
    Evidence,
    KeyFigure,
    few_rows,
    figure_rows,
    key_figures,
    on_the_data,
    on_the_test_rows,
    small_test,
)

BASELINES = {"svm": "n-grams + SVM", "tfidf": "TF-IDF + LR", "majority": "majority"}
"""The baselines and what their columns are called."""

WIDE = 2.0
"""Half an accuracy interval, in points, from which on a test set counts as small."""
FEW_ROWS = 50
"""Rows of a class in the test set below which its figures are rough."""
MISCALIBRATED = 0.05
OVERFITTED = 0.05
"""Accuracy on train above the one on test from which on it is worth a word."""
SHIFTED = 0.05
"""By how much a class's share may differ between train and test."""


def evidence(manifests: Mapping[str, Manifest]) -> Evidence:
    """Return what the figures of a run's steps say."""
    facts = manifests["evaluate"].facts
    accuracy, low, high = (facts["metrics"][f"test/accuracy{end}"] for end in ("", "_low", "_high"))
    labels = ", ".join(f"`{label}`" for label in manifests["fine_tune"].facts["labels"])
    return Evidence(
        figures=classifier_figures(facts["metrics"]),
        beside=BASELINES,
        limits=limits(manifests),
        first=[f"test accuracy **{accuracy:.2%}** (95 % interval {low:.2%} to {high:.2%})"],
        rows="rows",
        what=f"A text classifier with the labels {labels}",
        takes=f"It reads {facts['max_length']:,} tokens at most.",
        command=("predict", '"a text"'),
        frame='{"text": ["a text"]}',
        recipe=("model", "train", "balance"),
        reading=_positive_class(facts["labels"]),
        groups=_by_label(facts["per_class"]["test"]),
    )


def classifier_figures(metrics: Mapping[str, float], split: str = "test") -> list[KeyFigure]:
    """Return the figures of a split that one looks for, in order of interest, beside those of the baselines."""
    return key_figures(metrics, {each.name: (each.title_with_unit, DECIMAL) for each in LABELS}, BASELINES, split)


def headline_rows(facts: Facts) -> list[dict[str, Any]]:
    """Return the first figures of the test set as rows to be read, with the model beside the baselines."""
    figures = [figure for figure in classifier_figures(facts["metrics"]) if METRICS[figure.name].headline]
    return figure_rows(figures, BASELINES, lambda _, value: "" if value is None else DECIMAL.shown(value))


def metrics_rows(facts: Facts) -> list[dict[str, Any]]:
    """Return the metrics as rows, one a metric and split, with the model beside the baselines."""

    def rounded(_: KeyFigure, value: float | None) -> float | None:
        return None if value is None else round(value, 4)

    return [
        {"split": split, **row}
        for split in reversed(SPLITS)
        for row in figure_rows(classifier_figures(facts["metrics"], split), BASELINES, rounded)
    ]


def _positive_class(labels: list[str]) -> str:
    """Say whose precision, recall and so on the figures are."""
    if len(labels) == 2:
        return f"Precision, recall, F1, average precision and ROC AUC are those of the label “{labels[1]}”."
    return "Precision, recall, F1, average precision and ROC AUC are means over the labels."


def _by_label(classes: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    shown = DECIMAL.shown
    rows = [
        (f"`{each['label']}`", f"{each['rows']:,}", *(shown(each[name]) for name in ("precision", "recall", "f1")))
        for each in classes
    ]
    return [("label", "test rows", "precision", "recall", "F1"), *rows]


def limits(manifests: Mapping[str, Manifest]) -> list[str]:
    """Return what the evidence says against the model or against its figures, one sentence each."""
    splits, scores = manifests["split"].facts, manifests["evaluate"].facts
    metrics = scores["metrics"]
    half = 50 * (metrics["test/accuracy_high"] - metrics["test/accuracy_low"])
    classes = ((each["label"], each["rows"]) for each in scores["per_class"]["test"])
    return [
        *on_the_test_rows(splits, "rows"),
        *small_test(splits["rows"]["test"], "rows", "accuracy", half, WIDE),
        *few_rows(classes, FEW_ROWS, "Labels", "rows"),
        *_on_the_model(splits, scores),
        *on_the_data(manifests["validate"].facts, splits, "rows"),
        "Nothing was measured on texts from elsewhere: other sources, languages or years may differ.",
    ]


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


def _shares(counts: Mapping[str, int]) -> dict[str, float]:
    total = max(1, sum(counts.values()))
    return {label: count / total for label, count in counts.items()}
