"""Going on in the run that a killed process left, instead of opening another one.

A run is gone on in if it has the same resolved config, the same code, libraries and processor, was this home's, and was
closed because its process was gone.
What it has logged already is not logged again: MLflow keeps a point twice that comes at another time.
"""

import logging
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

import components
from components.core.records import fingerprint, sha256_of
from components.core.versions import library_versions
from components.models.processor import resolve
from components.tracking.names import ERROR_TAG, NOTE_TAG, ORPHANED, OUTBOX_TAG
from components.tracking.provenance import HOST_TAG, Tags

if TYPE_CHECKING:
    from mlflow import MlflowClient

CONFIG_TAG = "gradus.config"
"""Tag of a run: a hash of its resolved config, the code, the libraries and the processor."""
RESUMED_TAG = "gradus.resumed"
"""Tag of a run that was gone on in: when, each time."""
DATA_TAG = "gradus.trained_on"
"""Tag of a run: a hash of what it trains on, its splits and the weights it starts from."""
CHANGED_TAG = "gradus.changed"
"""Tag of a run in which training began anew, since the data had changed when it was gone on in."""
CURVES, SYSTEM = "curve/", "system/"
TRAINING = ("components.training.classification", "components.training.instruction")
MANY = 50
"""Runs of one config that are looked at, the newest first."""

log = logging.getLogger(__name__)


def config_hash(params: Mapping[str, JsonValue]) -> str:
    """Return the hash by which a run is known again (`CONFIG_TAG`).

    It is made of what a training's curves depend on: the resolved config, the code, the versions of libraries, and what
    device and precision `auto` stands for.
    """
    root = Path(components.__file__).parent
    code = {str(path.relative_to(root)): sha256_of(path) for path in sorted(root.rglob("*.py"))}
    return fingerprint([params, fingerprint(code), library_versions(*TRAINING), resolve("auto", "auto")])[:32]


def go_on(client: "MlflowClient", experiment_id: str, tags: Tags, again: str | None = None) -> str | None:
    """Make a run of the same config, code and home that a killed process left that of this one, which has `tags`.

    Or the run with the id `again`, which may have ended in any way.

    Returns:
        Its id, or None if there is no such run.
    """
    from mlflow.entities import RunTag

    stopped = client.get_run(again) if again else _stopped(client, experiment_id, tags)
    if stopped is None:
        return None
    run_id, before = str(stopped.info.run_id), stopped.data.tags
    # Until it has the tags, it is that of a dead process, and closed as such by whoever comes next.
    client.update_run(run_id, status="RUNNING")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    times = ", ".join([*filter(None, [before.get(RESUMED_TAG)]), now])
    client.log_batch(run_id, tags=[RunTag(key, value) for key, value in {**tags, RESUMED_TAG: times}.items()])
    for tag in {ERROR_TAG, NOTE_TAG} & before.keys():
        client.delete_tag(run_id, tag)
    for model in client.search_logged_models([experiment_id], f"source_run_id = '{run_id}'"):
        if str(model.status) == "PENDING":  # half its files are there at most
            client.finalize_logged_model(model.model_id, "FAILED")
    if not again:
        log.warning("going on in run %s, whose process was killed", run_id)
    return run_id


def known_of(run: Any) -> dict[str, Any]:
    """Return what has to be known of a run that is gone on in; nothing of another one."""
    if RESUMED_TAG not in run.data.tags:
        return {}
    samples = [point.step for point in run.data._metric_objs if point.key.startswith(SYSTEM)]
    return {"resumed": True, "trained_on": run.data.tags.get(DATA_TAG), "system_steps": max(samples, default=-1) + 1}


def _stopped(client: "MlflowClient", experiment_id: str, mine: Tags) -> Any | None:
    """Return the run that was the last of a config and home to end, if it ended because its process was killed.

    Runs of dead processes have been closed before (`components.tracking.runs.reconcile`).
    """
    from mlflow.entities import ViewType

    order = ["attributes.start_time DESC"]
    having = f"tags.`{CONFIG_TAG}` = '{mine[CONFIG_TAG]}'"
    for run in client.search_runs([experiment_id], having, ViewType.ALL, MANY, order):
        tags = run.data.tags
        if run.info.lifecycle_stage == "deleted":
            if run.info.status == "RUNNING" or tags.get(ERROR_TAG) == ORPHANED:
                log.warning("run %s, of this config, was killed and then deleted: this is a new run", run.info.run_id)
        elif run.info.status != "RUNNING":
            if _place(tags) == _place(mine):
                return run if tags.get(ERROR_TAG) == ORPHANED else None
        elif tags.get(HOST_TAG) != socket.gethostname():
            where = tags.get(HOST_TAG, "another machine")
            log.warning("run %s of this config is open on %s: this is a new run", run.info.run_id, where)
    return None


def _place(tags: Tags) -> tuple[str | None, Path]:
    """Return the machine and the folder that a run is sent from: those of another user are not ours to go on with."""
    return tags.get(HOST_TAG), Path(tags.get(OUTBOX_TAG, "")).parent


def logged_steps(client: "MlflowClient", run_id: str) -> dict[str, set[int]]:
    """Return the steps at which each metric of a run that is gone on in has a point.

    Metrics that are no curve have one point; those of the system count on. Where the data has changed, the points are
    those of another training, and none counts.
    """
    run = client.get_run(run_id)
    if CHANGED_TAG in run.data.tags:
        return {}
    steps = {point.key: {point.step} for point in run.data._metric_objs}
    for key in steps:
        if key.startswith(CURVES):
            steps[key] |= {point.step for point in client.get_metric_history(run_id, key)}
    return steps
