"""What a classification run shows of itself, and what its figures say."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.records import Facts, Manifest
from components.evaluation.metrics import LABELS, METRICS
from components.learned import LEARNED
from components.reporting.classification_plots import BASELINES
from components.reporting.evidence import DECIMAL, SPLITS, Evidence, KeyFigure, figure_rows, key_figures, written
from components.reporting.evidence import limits as evidence_limits
from components.reporting.pages import About, Findings, gathered

if TYPE_CHECKING:
    import pandas as pd

FILES = {"evaluate": ("predictions.parquet", "metrics.json", LEARNED)}
"""Artifacts that are files of a step as they are."""
SHOWN_PREDICTIONS = 10_000
"""Rows of the table `predictions_test.json`: as many as tracking keeps of a table."""
SURE_ERRORS = 50
"""Errors in the table `errors_test.json`."""
SHOWN_ERRORS = 25
"""Those of them that the report shows."""
ERROR_COLUMNS = ["label", "predicted", "probability", "svm", "tfidf", "row", "text"]

WIDE = 2.0
"""Half an accuracy interval, in points, from which on a test set counts as small."""
FEW_ROWS = 50
"""Rows of a class in the test set below which its figures are rough."""
MISCALIBRATED = 0.05
OVERFITTED = 0.05
"""Accuracy on train above the one on test from which on it is worth a word."""
SHIFTED = 0.05
"""By how much a class's share may differ between train and test."""


def findings(about: About, manifests: Mapping[str, Manifest]) -> Findings:
    """Return what there is to be looked at of a run; its figures were drawn by the step `evaluate`."""
    scored = manifests["evaluate"]
    predictions = first_predictions(scored.path("predictions.parquet"), SHOWN_PREDICTIONS)
    errors = predictions.loc[~predictions["correct"], ERROR_COLUMNS].head(SURE_ERRORS)
    confusion = scored.facts["confusion"]["test"]
    return gathered(
        "classification.html",
        about,
        manifests,
        evidence(manifests),
        figures={Path(name).stem: scored.path(name).read_bytes() for name in scored.files if name.endswith(".png")},
        tables={"predictions_test.json": predictions, "errors_test.json": errors},
        rows=metrics_rows(scored.facts),
        names=FILES,
        errors=errors.head(SHOWN_ERRORS).to_dict("records"),
        error_count=sum(map(sum, confusion)) - sum(row[place] for place, row in enumerate(confusion)),
    )


def first_predictions(path: Path, most: int) -> "pd.DataFrame":
    """Return the first rows of the test split, which stand first in the file: its errors, then what is right."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    batch = next(file.iter_batches(most), None)
    frame: pd.DataFrame = file.schema_arrow.empty_table().to_pandas() if batch is None else batch.to_pandas()
    return frame[frame["split"] == "test"].drop(columns="split").reset_index(drop=True)


def evidence(manifests: Mapping[str, Manifest]) -> Evidence:
    """Return what the figures of a run's steps say."""
    facts = manifests["evaluate"].facts
    accuracy, low, high = (facts["metrics"][f"test/accuracy{end}"] for end in ("", "_low", "_high"))
    labels = ", ".join(f"`{label}`" for label in manifests["fine_tune"].facts["labels"])
    named = facts["labels"]
    whose = f"those of the label “{named[1]}”" if len(named) == 2 else "means over the labels"
    groups: list[tuple[str, ...]] = [("label", "test rows", "precision", "recall", "F1")]
    for each in facts["per_class"]["test"]:
        shown = (written(each[name], DECIMAL) for name in ("precision", "recall", "f1"))
        groups.append((f"`{each['label']}`", f"{each['rows']:,}", *shown))
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
        reading=f"Precision, recall, F1, average precision and ROC AUC are {whose}.",
        groups=groups,
    )


def classifier_figures(metrics: Mapping[str, float], split: str = "test") -> list[KeyFigure]:
    """Return the figures of a split that one looks for, in order of interest, beside those of the baselines."""
    return key_figures(metrics, {each.name: (each.title_with_unit, DECIMAL) for each in LABELS}, BASELINES, split)


def headline_rows(facts: Facts) -> list[dict[str, Any]]:
    """Return the first figures of the test set as rows to be read, with the model beside the baselines."""
    figures = [figure for figure in classifier_figures(facts["metrics"]) if METRICS[figure.name].headline]
    return figure_rows(figures, BASELINES, lambda _, value: "" if value is None else written(value, DECIMAL))


def metrics_rows(facts: Facts) -> list[dict[str, Any]]:
    """Return the metrics as rows, one a metric and split, with the model beside the baselines."""
    return [
        {"split": split, **row}
        for split in reversed(SPLITS)
        for row in figure_rows(
            classifier_figures(facts["metrics"], split),
            BASELINES,
            lambda _, value: None if value is None else round(value, 4),
        )
    ]


def limits(manifests: Mapping[str, Manifest]) -> list[str]:
    """Return what the evidence says against the model or against its figures, one sentence each."""
    facts = {name: manifest.facts for name, manifest in manifests.items()}
    metrics = facts["evaluate"]["metrics"]
    half = 50 * (metrics["test/accuracy_high"] - metrics["test/accuracy_low"])
    labels = [(each["label"], each["rows"]) for each in facts["evaluate"]["per_class"]["test"]]
    own = _on_the_model(facts["split"], facts["evaluate"])
    return [
        *evidence_limits(facts, "rows", ("accuracy", half, WIDE), ("Labels", labels, FEW_ROWS), own),
        "Nothing was measured on texts from elsewhere: other sources, languages or years may differ.",
    ]


def _on_the_model(splits: Facts, scores: Facts) -> Iterator[str]:
    metrics = scores["metrics"]
    if (error := metrics["test/calibration_error"]) > MISCALIBRATED:
        yield (
            f"Its probabilities are off by {100 * error:.1f} points on average: calibrate them before a threshold is "
            "set on them."
        )
    if (gap := metrics["train/accuracy"] - metrics["test/accuracy"]) > OVERFITTED:
        yield f"It is {100 * gap:.1f} points better on the texts that it was trained on than on the test set."
    if cut := scores["lengths"]["test"]["cut_share"]:
        yield f"{100 * cut:.1f} % of the test texts are longer than {scores['max_length']:,} tokens and read in part."
    train, test = (splits["classes"][split] for split in ("train", "test"))
    total, tested = (max(1, sum(counts.values())) for counts in (train, test))
    if max(abs(train[label] / total - count / tested) for label, count in test.items()) > SHIFTED:
        yield "It was trained on other shares of the labels than the test set has; its probabilities follow the former."
