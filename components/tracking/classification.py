"""What a classification run leaves in MLflow, and its model in the registry."""

import json
from pathlib import Path
from typing import Any

from components.core.records import Manifest
from components.learned import LEARNED
from components.tracking.card import short_card
from components.tracking.findings import about_run, log_findings
from components.tracking.packaging import PackagedModel, log_classifier
from components.tracking.publishing import publish, reading_of
from components.tracking.recording import counted, log_curves, log_splits
from components.tracking.runs import Run

EXAMPLES = 3
"""Texts that stand in the model as an example of its input."""


def log_validation(run: Run, folder: Path) -> tuple[list[dict[str, Any]], str]:
    """Log the report of a validation, passed or not; return its table and a one-line summary."""
    for name in ("report.html", "report.json", "rejected.parquet"):
        if (folder / name).exists():
            run.log_file(folder / name, "validation")
    report = json.loads((folder / "report.json").read_text())
    summary = f"{report['verdict']}: {report['rows_out']:,} of {report['rows_in']:,} rows can be used"
    return report["expectations"], summary


def log_classification(run: Run, manifests: dict[str, Manifest]) -> None:
    """Log data, metrics, curves, figures, tables, report and model card of a run's steps."""
    trained, scores = manifests["fine_tune"], manifests["evaluate"]
    log_splits(run, manifests)
    if trained.cached:
        log_curves(run, trained)
    run.metrics(scores.facts["metrics"] | counted(manifests), trained.facts["steps"])
    run.flush()
    log_findings(run, manifests)
    run.log_file(scores.path("predictions.parquet"))
    run.log_file(scores.path("metrics.json"))
    if LEARNED in scores.files:
        run.log_file(scores.path(LEARNED))
    run.log_dict({name: manifest.facts for name, manifest in manifests.items()}, "facts.json")
    run.set_tags({"gradus.verdict": scores.facts["verdict"], "mlflow.note.content": note(manifests)})


def note(manifests: dict[str, Manifest]) -> str:
    """Return the run's description in Markdown: the verdict, and the figures that one looks for first."""
    splits, scores = manifests["split"].facts, manifests["evaluate"].facts
    metrics, overlap = scores["metrics"], splits["overlap"]["test"]
    lines = [
        str(scores["verdict"]),
        "",
        f"- test accuracy **{metrics['test/accuracy']:.2%}** "
        f"(95 % interval {metrics['test/accuracy_low']:.2%} to {metrics['test/accuracy_high']:.2%})",
        f"- test rows that also stand in train: {overlap['exact']} word for word, {overlap['folded']} after folding",
        "- " + ", ".join(f"{name} {count:,}" for name, count in splits["rows"].items()) + " rows",
    ]
    return "\n".join(lines)


def publish_classifier(run: Run, manifests: dict[str, Manifest], model_name: str | None) -> dict[str, str | None]:
    """Log the trained model and register it as `candidate`, unless a version of just this model is there already.

    Returns `model_uri`, and in `cached_from` the run that made the model if that was an earlier one.

    Raises:
        TrackingError: if the store cannot be written.
    """
    import pandas as pd

    def log(tags: dict[str, str]) -> PackagedModel:
        texts = pd.read_parquet(manifests["split"].path("train.parquet"), columns=["text"])["text"].head(EXAMPLES)
        folder, card = manifests["fine_tune"].folder / "model", short_card(about_run(run), manifests)
        return log_classifier(run, folder, texts.tolist(), model_name, card, tags, reading_of(manifests))

    return publish(run, manifests, model_name, log)
