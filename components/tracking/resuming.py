"""Going on in the run that a killed process left, instead of opening another one.

A run is gone on in if it has the same resolved config and the same code, and was closed because its process was gone.
What it has logged already is not logged again: MLflow keeps a point twice that comes at another time.
"""

import fcntl
import json
import logging
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

import components
from components.records import fingerprint, sha256_of
from components.tracking.provenance import HOST_TAG, Tags, code_tags, process_tags, user_tags
from components.tracking.stores import tracking_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

CONFIG_TAG = "gradus.config"
"""Tag of a run: a hash of its resolved config and of the code."""
RESUMED_TAG = "gradus.resumed"
"""Tag of a run that was gone on in: when, each time."""
DATA_TAG = "gradus.trained_on"
"""Tag of a run: a hash of what it trains on, its splits and the weights it starts from."""
CHANGED_TAG = "gradus.changed"
"""Tag of a run in which training began anew, since the data had changed when it was gone on in."""
ERROR_TAG = "gradus.error"
NOTE_TAG = "mlflow.note.content"
ORPHANED = "its process ended without closing the run"
CURVES = "curve/"
MANY = 50
"""Runs of one config that are looked at, the newest first."""

log = logging.getLogger(__name__)


@cache
def _code() -> str:
    """Return a hash of the product's sources: another code may train otherwise, and its points be others."""
    root = Path(components.__file__).parent
    return fingerprint({str(path.relative_to(root)): sha256_of(path) for path in sorted(root.rglob("*.py"))})


@contextmanager
def alone(home: Path) -> Iterator[None]:
    """Hold a lock: two processes that start at once must not go on in the same run, nor close it for each other."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / ".runs.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def go_on_or_create(
    client: "MlflowClient", experiment_id: str, name: str, params: Mapping[str, JsonValue], tags: Mapping[str, str]
) -> str:
    """Return the id of the run of this process: one of the same config and code that a killed one left, or a new one.

    Raises:
        TrackingError: if the store cannot be read or written.
    """
    config = fingerprint([params, _code()])[:32]
    everything = {**user_tags("gradus"), **code_tags(), **process_tags(), CONFIG_TAG: config, **tags}
    with tracking_errors("cannot create an MLflow run"):
        if stopped := _stopped(client, experiment_id, config):
            _reopen(client, stopped, everything)
            return str(stopped.info.run_id)
        return str(client.create_run(experiment_id, tags=everything, run_name=name).info.run_id)


def _stopped(client: "MlflowClient", experiment_id: str, config: str) -> Any | None:
    """Return the run that was the last of a config to end, if it ended because its process was killed.

    Runs of dead processes have been closed before (`components.tracking.runs.reconcile`).
    """
    from mlflow.entities import ViewType

    order = ["attributes.start_time DESC"]
    having = f"tags.`{CONFIG_TAG}` = '{config}'"
    for run in client.search_runs([experiment_id], having, ViewType.ALL, MANY, order):
        tags = run.data.tags
        if run.info.lifecycle_stage == "deleted":
            if run.info.status == "RUNNING" or tags.get(ERROR_TAG) == ORPHANED:
                log.warning("run %s, of this config, was killed and then deleted: this is a new run", run.info.run_id)
        elif run.info.status != "RUNNING":
            return run if tags.get(ERROR_TAG) == ORPHANED else None
        elif tags.get(HOST_TAG) != socket.gethostname():
            where = tags.get(HOST_TAG, "another machine")
            log.warning("run %s of this config is open on %s: this is a new run", run.info.run_id, where)
    return None


def _reopen(client: "MlflowClient", run: Any, tags: Tags) -> None:
    """Make a closed run that of this process, whose `tags` it gets.

    Until it has them, it is that of a dead process, and closed as such by whoever comes next.
    """
    from mlflow.entities import RunTag

    run_id = run.info.run_id
    client.update_run(run_id, status="RUNNING")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    times = ", ".join([*filter(None, [run.data.tags.get(RESUMED_TAG)]), now])
    client.log_batch(run_id, tags=[RunTag(key, value) for key, value in {**tags, RESUMED_TAG: times}.items()])
    for tag in (ERROR_TAG, NOTE_TAG):
        if tag in run.data.tags:
            client.delete_tag(run_id, tag)
    for model in own_models(client, run.info.experiment_id, run_id, "PENDING"):  # half their files are there at most
        client.finalize_logged_model(model.model_id, "FAILED")
    log.warning("going on in run %s, whose process was killed", run_id)


def own_models(client: "MlflowClient", experiment_id: str, run_id: str, status: str) -> "list[LoggedModel]":
    """Return the models that a run has logged which have this status (`PENDING`, `READY` ...)."""
    found = client.search_logged_models([experiment_id], f"source_run_id = '{run_id}'")
    return [model for model in found if str(model.status) == status]


def logged_steps(client: "MlflowClient", run: Any) -> dict[str, set[int]] | None:
    """Return the steps at which each metric of a run that is gone on in has a point; of another run None.

    Metrics that are no curve have one point. Those of the system go on as they come. Where the data has changed, the
    points are those of another training.
    """
    if RESUMED_TAG not in run.data.tags:
        return None
    if CHANGED_TAG in run.data.tags:
        return {}
    steps = {point.key: {point.step} for point in run.data._metric_objs}
    for key in steps:
        if key.startswith(CURVES):
            steps[key] |= {point.step for point in client.get_metric_history(run.info.run_id, key)}
    return steps


def empty_table(client: "MlflowClient", run_id: str, columns: list[str], name: str) -> None:
    """Empty a table that a run may have, since MLflow appends to it what is logged under its name."""
    client.log_text(run_id, json.dumps({"columns": columns, "data": []}), name)
