"""What every run leaves in MLflow, whatever it trains: its data, its curves, its metrics, and what was made of them."""

import json
import logging
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.records import Manifest, fingerprint
from components.tracking.datasets import log_inputs
from components.tracking.names import NOTE_TAG
from components.tracking.resuming import CHANGED_TAG, DATA_TAG
from components.tracking.runs import Run

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

SPLITS = ("train", "validation", "test")
CURVES = ("gradient_norm", "learning_rate")
"""Columns of `steps.parquet` that are curves by their own names."""


def log_measured(run: Run, manifests: Mapping[str, Manifest], counted: Mapping[str, float]) -> None:
    """Log a run's data and metrics, and the curves of a training that it did not have to repeat.

    Args:
        run: the open run.
        manifests: of the steps `download`, `split`, `fine_tune` and `evaluate` at least.
        counted: what the steps counted, as metrics, beside those of `evaluate`.

    Raises:
        TrackingError: if the store cannot be written.
    """
    trained = manifests["fine_tune"]
    log_splits(run, manifests)
    if trained.cached:
        log_curves(run, trained)
    run.metrics(manifests["evaluate"].facts["metrics"] | counted, trained.facts["steps"])
    run.flush()


def log_findings(
    run: Run,
    manifests: Mapping[str, Manifest],
    tables: "Mapping[str, pd.DataFrame]",
    figures: Mapping[str, bytes],
    pages: Mapping[str, str],
    description: str,
    files: Iterable[Path],
) -> None:
    """Log what there is to be looked at of a run, and its steps' own files.

    Args:
        run: the open run.
        manifests: of its steps; their facts become `facts.json`, and the verdict of `evaluate` a tag.
        tables: by the names of their artifacts (.json).
        figures: PNG files; each becomes `plots/<name>.png`.
        pages: texts by the names of their artifacts, such as `report.html`.
        description: the run's, in Markdown.
        files: of its steps; they become artifacts as they are.

    Raises:
        TrackingError: if the store cannot be written.
    """
    for name, table in tables.items():
        run.log_table(table, name)
    _log_pages(run, figures, pages)
    for file in files:
        run.log_file(file)
    run.log_dict({name: manifest.facts for name, manifest in manifests.items()}, "facts.json")
    run.set_tags({"gradus.verdict": manifests["evaluate"].facts["verdict"], NOTE_TAG: description})


def _log_pages(run: Run, figures: Mapping[str, bytes], pages: Mapping[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        plots = Path(folder) / "plots"
        plots.mkdir()
        for name, content in figures.items():
            (plots / f"{name}.png").write_bytes(content)
        for name, text in pages.items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        run.log_file(Path(folder))


def log_validation(run: Run, folder: Path) -> tuple[list[dict[str, Any]], str]:
    """Log the report of a validation, passed or not; return its table and a one-line summary."""
    for name in ("report.html", "report.json", "rejected.parquet"):
        if (folder / name).exists():
            run.log_file(folder / name, "validation")
    report = json.loads((folder / "report.json").read_text())
    summary = f"{report['verdict']}: {report['rows_out']:,} of {report['rows_in']:,} rows can be used"
    return report["expectations"], summary


def log_splits(run: Run, manifests: Mapping[str, Manifest]) -> None:
    """Record the three splits as the run's data, and what was trained on.

    Raises:
        TrackingError: if the store cannot be written.
    """
    splits = manifests["split"]
    note_data(run, *(manifests[name].digest for name in ("split", "fetch_weights") if name in manifests))
    files = {name: f"{name}.parquet" for name in SPLITS}
    log_inputs(
        run,
        {split: splits.path(name) for split, name in files.items()},
        {split: splits.files[name].sha256 for split, name in files.items()},
        str(manifests["download"].facts["url"]),
        run.name,
    )


def note_data(run: Run, *digests: str) -> None:
    """Note on a run what it trains on, by the digests of the steps that made it.

    What a config names may change: a file at its address, or the model that an alias stands for. A run that was gone on
    in (`components.tracking.resuming`) is then trained anew, and no point of the earlier training stands for a new one.

    Raises:
        TrackingError: if the store refuses.
    """
    data = fingerprint(list(digests))[:32]
    before = run.trained_on or data
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

    steps = pd.read_parquet(trained.path("steps.parquet"))
    for row in steps.to_dict("records"):
        values = {"batch_loss": row["loss"], **{name: row[name] for name in CURVES}}
        run.metrics(_curves(values), int(row["step"]))
    history = pd.read_parquet(trained.path("history.parquet"))
    if "validation_perplexity" in trained.facts and len(history):
        exponentials = {f"{split}_perplexity": np.exp(history[f"{split}_loss"]) for split in ("train", "validation")}
        history = history.assign(**exponentials)
    for row in history.to_dict("records"):
        step = int(row.pop("step"))
        run.metrics(_curves(row), step)


def _curves(values: Mapping[Any, Any]) -> dict[str, float]:
    import pandas as pd

    return {f"curve/{name}": float(value) for name, value in values.items() if not pd.isna(value)}
