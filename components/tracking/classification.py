"""What a classification run leaves in MLflow, and its model in the registry."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from components.records import Manifest
from components.tracking.card import short_card
from components.tracking.datasets import log_inputs
from components.tracking.evidence import SPLITS
from components.tracking.findings import about_run, log_findings
from components.tracking.packaging import CANDIDATE, link_model, log_classifier
from components.tracking.registry import find_logged_model, find_version, set_alias, version_source
from components.tracking.runs import Run

EXAMPLES = 3
"""Texts that stand in the model as an example of its input."""
DIGEST_TAG = "gradus.model_digest"
"""Tag of a registered version: the digest of the step that trained it, by which an unchanged model is known."""


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
    splits, trained, scores = manifests["split"], manifests["fine_tune"], manifests["evaluate"]
    files = {name: f"{name}.parquet" for name in SPLITS}
    log_inputs(
        run,
        {split: splits.path(name) for split, name in files.items()},
        {split: splits.files[name].sha256 for split, name in files.items()},
        str(manifests["download"].facts["url"]),
        run.name,
    )
    if trained.cached:
        _log_curves(run, trained)
    run.metrics(scores.facts["metrics"] | measured(manifests), trained.facts["steps"])
    run.flush()
    log_findings(run, manifests)
    run.log_file(scores.path("predictions.parquet"))
    run.log_file(scores.path("metrics.json"))
    run.log_dict({name: manifest.facts for name, manifest in manifests.items()}, "facts.json")
    run.set_tags({"gradus.verdict": scores.facts["verdict"], "mlflow.note.content": note(manifests)})


def measured(manifests: dict[str, Manifest]) -> dict[str, float]:
    """Return what the steps counted, as metrics: rows, rejected rows, overlap, batches, tokens, parameters, seconds."""
    checked, splits, trained = (manifests[name].facts for name in ("validate", "split", "fine_tune"))
    values = {
        "data/rows_in": checked["rows_in"],
        "data/rows_out": checked["rows_out"],
        "data/longest_train_tokens": trained["longest_train_tokens"],
        "model/parameters": trained["parameters"],
        "model/trained_parameters": trained["trained_parameters"],
    }
    for split in SPLITS:
        values[f"data/rows_{split}"] = splits["rows"][split]
        values[f"data/batches_{split}"] = batches(splits["rows"][split], trained["batch_size"], whole=split == "train")
    for split, counts in splits["overlap"].items():
        values |= {f"data/overlap_{split}_{kind}": count for kind, count in counts.items()}
    values |= {f"seconds/{name}": manifest.seconds for name, manifest in manifests.items() if not manifest.cached}
    return {name: float(value) for name, value in values.items()}


def batches(rows: int, size: int, whole: bool) -> int:
    """Return how many batches a split makes; training takes whole ones only, unless there is less than one."""
    return max(rows // size, 1) if whole else -(-rows // size)


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
    trained = manifests["fine_tune"]
    if model_name is None:
        earlier = find_logged_model(run.client, run.experiment_id, {DIGEST_TAG: trained.digest})
        if earlier:
            link_model(run, earlier.model_uri)
            return {"model_uri": earlier.model_uri, "cached_from": earlier.source_run_id}
    elif known := find_version(run.client, model_name, {DIGEST_TAG: trained.digest}):
        link_model(run, version_source(known))
        set_alias(run.client, model_name, CANDIDATE, str(known.version))
        return {"model_uri": f"models:/{model_name}/{known.version}", "cached_from": known.run_id}
    texts = pd.read_parquet(manifests["split"].path("train.parquet"), columns=["text"])["text"].head(EXAMPLES)
    logged = log_classifier(
        run,
        trained.folder / "model",
        texts.tolist(),
        model_name,
        short_card(about_run(run), manifests),
        {DIGEST_TAG: trained.digest, "gradus.data_digest": manifests["split"].digest},
    )
    uri = f"models:/{model_name}/{logged.version}" if logged.version else logged.uri
    return {"model_uri": uri, "cached_from": None}


def _log_curves(run: Run, trained: Manifest) -> None:
    """Log the curves of a training that this run did not have to repeat."""
    steps = pd.read_parquet(trained.path("steps.parquet"))
    for row in steps.to_dict("records"):
        values = {"batch_loss": row["loss"], **{name: row[name] for name in ("gradient_norm", "learning_rate")}}
        run.metrics({f"curve/{name}": value for name, value in values.items()}, int(row["step"]))
    history = pd.read_parquet(trained.path("history.parquet"))
    for row in history.to_dict("records"):
        step = int(row.pop("step"))
        run.metrics({f"curve/{name}": value for name, value in row.items()}, step)
