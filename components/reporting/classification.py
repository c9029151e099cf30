"""What a classification run shows of itself, and what its figures say."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.core.records import Facts, Manifest
from components.evaluation.metrics import LABELS, METRICS
from components.learned import LEARNED
from components.reporting.classification_plots import BASELINES
from components.reporting.evidence import DECIMAL, SPLITS, Evidence, KeyFigure, figure_rows, key_figures, written
from components.reporting.pages import About, Findings, gathered, sentences

FILES = {"evaluate": ("predictions.parquet", "metrics.json", LEARNED)}
"""Artifacts that are files of a step as they are."""
SHOWN_PREDICTIONS = 10_000
"""Rows of the table `predictions_test.json`: as many as tracking keeps of a table."""
SURE_ERRORS = 50
"""Errors in the table `errors_test.json`."""
SHOWN_ERRORS = 25
"""Those of them that the report shows."""
ERROR_COLUMNS = ["label", "predicted", "probability", "svm", "tfidf", "row", "text"]


def findings(about: About, manifests: Mapping[str, Manifest]) -> Findings:
    """Return what there is to be looked at of a run; its figures were drawn by the step `evaluate`."""
    import pyarrow.parquet as pq

    scored = manifests["evaluate"]
    # The test split stands first in the file: its errors, then what is right.
    first = next(pq.ParquetFile(scored.path("predictions.parquet")).iter_batches(SHOWN_PREDICTIONS)).to_pandas()
    predictions = first[first["split"] == "test"].drop(columns="split").reset_index(drop=True)
    errors = predictions.loc[~predictions["correct"], ERROR_COLUMNS].head(SURE_ERRORS)
    confusion = scored.facts["confusion"]["test"]
    return gathered(
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


def evidence(manifests: Mapping[str, Manifest]) -> Evidence:
    """Return what the figures of a run's steps say."""
    metrics = manifests["evaluate"].facts["metrics"]
    return Evidence("classification", classifier_figures(metrics), beside(metrics), limits(manifests))


def beside(metrics: Mapping[str, float]) -> dict[str, str]:
    """Return the baselines that a run has, and what their columns are called."""
    return {name: title for name, title in BASELINES.items() if f"{name}/test/accuracy" in metrics}


def classifier_figures(metrics: Mapping[str, float], split: str = "test") -> list[KeyFigure]:
    """Return the figures of a split that one looks for, in order of interest, beside those of the baselines."""
    return key_figures(metrics, {each.name: (each.title_with_unit, DECIMAL) for each in LABELS}, beside(metrics), split)


def headline_rows(facts: Facts) -> list[dict[str, Any]]:
    """Return the first figures of the test set as rows to be read, with the model beside the baselines."""
    figures = [figure for figure in classifier_figures(facts["metrics"]) if METRICS[figure.name].headline]
    columns = beside(facts["metrics"])
    return figure_rows(figures, columns, lambda _, value: "" if value is None else written(value, DECIMAL))


def metrics_rows(facts: Facts) -> list[dict[str, Any]]:
    """Return the metrics as rows, one a metric and split, with the model beside the baselines."""
    return [
        {"split": split, **row}
        for split in reversed(SPLITS)
        for row in figure_rows(
            classifier_figures(facts["metrics"], split),
            beside(facts["metrics"]),
            lambda _, value: None if value is None else round(value, 4),
        )
    ]


def limits(manifests: Mapping[str, Manifest]) -> list[str]:
    """Return what the evidence says against the model or against its figures, one sentence each."""
    train, test = (manifests["split"].facts["classes"][split] for split in ("train", "test"))
    total, tested = (max(1, sum(counts.values())) for counts in (train, test))
    shift = max(abs(train[label] / total - count / tested) for label, count in test.items())
    return sentences("classification_limits.jinja", manifests, shift=shift)
