"""What every run leaves in MLflow, whatever it trains: its data, its curves, and what its steps counted."""

import logging
from collections.abc import Mapping
from typing import Any

from components.core.records import Manifest, fingerprint
from components.tracking.datasets import log_inputs
from components.tracking.resuming import CHANGED_TAG, DATA_TAG
from components.tracking.runs import Run

log = logging.getLogger(__name__)

SPLITS = ("train", "validation", "test")
CURVES = ("gradient_norm", "learning_rate")
"""Columns of `steps.parquet` that are curves by their own names."""


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


def log_curves(run: Run, trained: Manifest, perplexity: bool = False) -> None:
    """Log the curves of a training that this run did not have to repeat, as that logged them while it went on.

    Args:
        run: the open run.
        trained: of the step `fine_tune`: `steps.parquet` and `history.parquet`. Missing values are left out.
        perplexity: log exp(loss) of both splits as well.

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
    if perplexity and len(history):
        exponentials = {f"{split}_perplexity": np.exp(history[f"{split}_loss"]) for split in ("train", "validation")}
        history = history.assign(**exponentials)
    for row in history.to_dict("records"):
        step = int(row.pop("step"))
        run.metrics(_curves(row), step)


def _curves(values: Mapping[Any, Any]) -> dict[str, float]:
    import pandas as pd

    return {f"curve/{name}": float(value) for name, value in values.items() if not pd.isna(value)}


def counted(manifests: Mapping[str, Manifest]) -> dict[str, float]:
    """Return what the steps of every pipeline counted, as metrics: rows, overlap, batches, parameters, seconds."""
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
