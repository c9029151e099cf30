"""What every run leaves in MLflow, whatever it trains: its data, its curves, its metrics, and what was made of them."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.records import Manifest, fingerprint
from components.tracking.names import PRESET_TAG
from components.tracking.resuming import CHANGED_TAG, DATA_TAG
from components.tracking.runs import Run

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

SPLITS = ("train", "validation", "test")
SCORES = "scores.json"
"""The table of all figures: of every split, of the baselines, by task."""
OVERFITTING = "loss"
"""What is plotted of training and validation rows, beside the metric that decides."""
CURVES = ("gradient_norm", "learning_rate")
"""Columns of `steps.parquet` that are curves by their own names."""

CONTEXTS = {"train": "training", "validation": "validation", "test": "testing"}
"""What MLflow calls a split."""
DIGEST_LENGTH = 8
"""Leading characters of the SHA-256 that MLflow shows as a dataset's digest; the whole stands in the tag `sha256`."""
COLUMN_TYPES = {"string": "string", "large_string": "string", "int32": "integer", "int64": "long", "bool": "boolean"}
"""MLflow's column types by Arrow's; `float` and `double` are the same word in both."""


def log_measured(run: Run, manifests: Mapping[str, Manifest], counted: Mapping[str, float], decides: str) -> None:
    """Log a run's data and metrics, and the curves of a training that it did not have to repeat.

    Metrics are what people plot; all figures stand in the table `scores.json`.

    Args:
        run: the open run.
        manifests: of the steps `download`, `split`, `fine_tune` and `evaluate` at least.
        counted: what the steps counted, as metrics, beside those of `evaluate`.
        decides: the metric that decides between models of this kind.

    Raises:
        TrackingError: if the store cannot be written.
    """
    trained, splits = manifests["fine_tune"], manifests["split"]
    note_data(run, *(manifests[name].digest for name in ("split", "fetch_weights") if name in manifests))
    files = {split: splits.path(f"{split}.parquet") for split in SPLITS}
    digests = {split: splits.files[path.name].sha256 for split, path in files.items()}
    log_inputs(run, files, digests, str(manifests["download"].facts["url"]), run.tags.get(PRESET_TAG, run.name))
    if trained.cached:
        log_curves(run, trained)
    figures: dict[str, float] = manifests["evaluate"].facts["metrics"]
    run.metrics({**to_plot(figures, decides), **counted}, trained.facts["steps"])
    run.log_table(scores_table(figures), SCORES)
    run.flush()


def to_plot(figures: Mapping[str, float], decides: str) -> dict[str, float]:
    """Return the figures that become metrics, the one that decides by its bare name too: MLflow shows that first.

    They are the model's on test rows, whose interval is kept of the metric that decides; of the other splits that
    metric and the loss; and of the baselines that metric on test rows.
    """
    found = {decides: figures[f"test/{decides}"]} if f"test/{decides}" in figures else {}
    for name, value in figures.items():
        *of, metric = name.split("/")
        own = of == ["test"] and (metric.startswith(decides) or not metric.endswith(("_low", "_high")))
        other = len(of) == 1 and metric in (decides, OVERFITTING)
        baseline = of[1:] == ["test"] and metric == decides
        if own or other or baseline:
            found[name] = value
    return found


def scores_table(figures: Mapping[str, float]) -> "pd.DataFrame":
    """Return all figures by their flat names (`tfidf/test/f1`, `test/score/TASK`) as a table, a row each."""
    import pandas as pd

    rows = []
    for name, value in figures.items():
        parts = name.split("/") if not name.startswith(SPLITS) else ["model", *name.split("/")]
        of, split, metric = (*parts, "", "")[:3]
        rows.append((of, split, metric, "/".join(parts[3:]), value))
    return pd.DataFrame(rows, columns=["of", "split", "metric", "task", "value"])


def log_validation(run: Run, folder: Path) -> tuple[list[dict[str, Any]], str]:
    """Log the report of a validation, passed or not; return its table and a one-line summary."""
    for name in ("report.html", "report.json", "rejected.parquet"):
        if (folder / name).exists():
            run.log_file(folder / name, "validation")
    report = json.loads((folder / "report.json").read_text())
    summary = f"{report['verdict']}: {report['rows_out']:,} of {report['rows_in']:,} rows can be used"
    return report["expectations"], summary


def log_inputs(run: Run, splits: Mapping[str, Path], digests: Mapping[str, str], source_url: str, name: str) -> None:
    """Record which data a run used.

    Args:
        run: the open run.
        splits: Parquet files by split (`train`, `validation`, `test`, or names of your own).
        digests: the files' SHA-256, hexadecimal, by split.
        source_url: where the raw data came from.
        name: the dataset's name, for example the preset's.

    Raises:
        TrackingError: if the store cannot be written.
    """
    inputs = [_dataset(split, path, digests[split], source_url, name) for split, path in splits.items()]
    run.record("inputs", datasets=inputs, models=[])


def _dataset(split: str, path: Path, sha256: str, source_url: str, name: str) -> dict[str, dict[str, str]]:
    import pyarrow.parquet as pq

    footer = pq.ParquetFile(path)
    types = {column.name: str(column.type) for column in footer.schema_arrow}
    columns = [
        {"type": COLUMN_TYPES.get(type_, type_), "name": name, "required": True} for name, type_ in types.items()
    ]
    is_web = source_url.startswith(("http://", "https://"))
    dataset = {
        "name": name,
        "digest": sha256[:DIGEST_LENGTH],
        "source_type": "http" if is_web else "local",
        "source": json.dumps({"url" if is_web else "uri": source_url}),
        "schema": json.dumps({"mlflow_colspec": columns}),
        "profile": json.dumps({"num_rows": footer.metadata.num_rows, "split": split, "sha256": sha256}),
    }
    tags = {"mlflow.data.context": CONTEXTS.get(split, split), "sha256": sha256, "split": split}
    return {"dataset": dataset, "tags": tags}


def note_data(run: Run, *digests: str) -> None:
    """Note on a run what it trains on, by the digests of the steps that made it.

    What a config names may change: a file at its address, or the model that an alias stands for. A run that was gone on
    in (`components.tracking.resuming`) is then trained anew, and no point of the earlier training stands for a new one.

    Raises:
        TrackingError: if the store refuses.
    """
    data = fingerprint(list(digests))[:32]
    before = run.tags.get(DATA_TAG) or run.outbox.state.get("trained_on") or data
    run.set_tags({DATA_TAG: data} | ({CHANGED_TAG: "true"} if before != data else {}))
    if before != data:
        log.warning("the data has changed since run %s was killed: its curves are of two trainings", run.run_id)


def log_curves(run: Run, trained: Manifest) -> None:
    """Log the curves of a training that this run did not have to repeat, as that logged them while it went on.

    Args:
        run: the open run.
        trained: of the step `fine_tune`: `steps.parquet` and `history.parquet`. Missing values are left out; exp(loss)
            of both splits is logged as well if perplexity is among the step's facts.

    Raises:
        TrackingError: if the store cannot be written.
    """
    import numpy as np
    import pandas as pd

    steps = pd.read_parquet(trained.path("steps.parquet"), columns=["step", "loss", *CURVES])
    history = pd.read_parquet(trained.path("history.parquet"))
    if "validation_perplexity" in trained.facts and len(history):
        exponentials = {f"{split}_perplexity": np.exp(history[f"{split}_loss"]) for split in ("train", "validation")}
        history = history.assign(**exponentials)
    for table in (steps.rename(columns={"loss": "batch_loss"}), history):
        for row in table.to_dict("records"):
            step = int(row.pop("step"))
            run.metrics({f"curve/{name}": float(value) for name, value in row.items() if not pd.isna(value)}, step)
