"""How a model gets from a run's outbox into MLflow: uploaded once, registered once, however often that is tried.

Two runs that trained the same model (`gradus.model_digest`) share one version, also if they come to their end at once:
runs of one home take turns; of runs on several machines the one whose version has the lower number keeps it.
"""

import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.durable import locked
from components.core.records import fingerprint
from components.tracking.names import CANDIDATE, DIGEST_TAG, KEY_TAG, MODEL_ID_TAG, MODEL_NAME, READING_TAG, TIME_TAG
from components.tracking.outbox.journal import Operation
from components.tracking.outbox.sending import Sender
from components.tracking.registry.finding import find_logged_model, find_version, version_by_alias, version_source
from components.tracking.stores import is_outage

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion

NOT_SCORES = {"system", "curve", "seconds"}
"""Areas of metrics (what stands before the slash) that say nothing about the finished model."""


def send_model(sender: Sender, operation: Operation) -> dict[str, Any]:
    """Upload a kept model and register it, unless a model of just this training is there; return what became of it."""
    identity = {tag: value for tag, value in operation["tags"].items() if tag in (DIGEST_TAG, READING_TAG)}
    key = fingerprint([identity, operation["name"]])[:16]
    with locked(sender.home / ".publishing" / key) if identity else nullcontext():
        if identity and (known := find_published(sender.client, sender.experiment_id, operation["name"], identity)):
            return send_link(sender, operation | known)
        model = _upload(sender, operation)
        name = operation["name"]
        published = {"model_uri": model.model_uri, "name": name, "version": None, "cached_from": None}
        if name is None:
            return published
        version = _register(sender, operation, model)
        # Only another machine can have been between the look-up and now.
        first = find_version(sender.client, name, identity, oldest=True) if identity else None
        if first and int(first.version) < int(version):
            sender.client.delete_model_version(name, version)
            sender.client.delete_logged_model(model.model_id)
            return send_link(sender, operation | _published(first))
        return published | {"version": version}


def find_published(
    client: "MlflowClient", experiment_id: str, name: str | None, identity: dict[str, str]
) -> dict[str, Any] | None:
    """Return where the model with these tags is, if it was published under this name (or under none)."""
    if name is None:
        model = find_logged_model(client, experiment_id, identity)
        if model is None or str(model.status) != "READY":
            return None
        return {"model_uri": model.model_uri, "version": None, "cached_from": model.source_run_id}
    version = find_version(client, name, identity)
    return _published(version) if version else None


def _published(version: "ModelVersion") -> dict[str, Any]:
    return {"model_uri": version_source(version), "version": str(version.version), "cached_from": version.run_id}


def send_link(sender: Sender, operation: Operation) -> dict[str, Any]:
    """Show a model that is published among the run's outputs, and make its version the candidate again."""
    client = sender.client
    model = client.get_logged_model(operation["model_uri"].removeprefix("models:/"))
    _add_output(sender, model.model_id)
    if operation["version"]:
        _make_candidate(sender, operation, operation["version"])
    found = {name: operation[name] for name in ("model_uri", "name", "version", "cached_from")}
    if found["cached_from"] == sender.run_id:  # its own, published before an answer was lost
        found["cached_from"] = None
        if found["version"]:
            _note_version(sender, model.model_id, found["name"], found["version"])
    return found


def _upload(sender: Sender, operation: Operation) -> "LoggedModel":
    """Upload the model. Half a model is marked FAILED, never READY."""
    from mlflow.models import Model

    client, folder = sender.client, sender.outbox.folder / operation["kept"]
    key = f"{sender.outbox.key}-{Path(operation['kept']).parent.name}"
    model = next(iter(_with_key(sender, key)), None) if sender.again else None
    if model is None:
        params = client.get_run(sender.run_id).data.params
        tags = {KEY_TAG: key, **operation["model_tags"], **operation["tags"]}
        place = (sender.experiment_id, MODEL_NAME, sender.run_id)
        model = client.create_logged_model(*place, tags, params, operation["kind"])
    try:
        if str(model.status) != "READY":
            saved = Model.load(str(folder))  # which run and which entry of the store it belongs to stands in it
            saved.run_id, saved.model_id, saved.artifact_path = sender.run_id, model.model_id, model.artifact_location
            saved.save(str(folder / "MLmodel"))
            client.log_model_artifacts(model.model_id, str(folder))
        _add_output(sender, model.model_id)
        _link_metrics(sender, model.model_id)
    except Exception as error:
        # While the store is away the model stays PENDING: the next attempt goes on with it.
        if not is_outage(error, sender.uri, opened=True):
            client.finalize_logged_model(model.model_id, "FAILED")
        raise
    client.finalize_logged_model(model.model_id, "READY")
    if sender.again:
        for twin in _with_key(sender, key):
            if twin.model_id != model.model_id:
                client.delete_logged_model(twin.model_id)
    return model


def _with_key(sender: Sender, key: str) -> "Sequence[LoggedModel]":
    found = sender.client.search_logged_models([sender.experiment_id], f"tags.`{KEY_TAG}` = '{key}'")
    return sorted(found, key=lambda model: (str(model.status) != "READY", model.model_id))


def _add_output(sender: Sender, model_id: str) -> None:
    from mlflow.entities import LoggedModelOutput

    outputs = sender.client.get_run(sender.run_id).outputs
    if not outputs or model_id not in {output.model_id for output in outputs.model_outputs}:
        sender.client.log_outputs(sender.run_id, [LoggedModelOutput(model_id, step=0)])


def _link_metrics(sender: Sender, model_id: str) -> None:
    """Show the run's scores on the model's page, with the data they were taken on.

    The same points again, so that the run's own curves stay as they are. Curves and system metrics are left out.
    """
    from mlflow.entities import Metric

    found = sender.client.get_run(sender.run_id)
    inputs = found.inputs.dataset_inputs if found.inputs else []
    datasets = {tag.value: read.dataset for read in inputs for tag in read.tags if tag.key == "split"}
    # Unlike a run's points, a model's are refused where they are there already.
    linked = sender.client.get_logged_model(model_id).metrics if sender.again else None
    there = {(point.key, point.step, point.timestamp) for point in linked or ()}
    metrics = []
    for point in found.data._metric_objs:
        area = point.key.partition("/")[0]
        if area in NOT_SCORES or (point.key, point.step, point.timestamp) in there:
            continue
        name, digest = (datasets[area].name, datasets[area].digest) if area in datasets else (None, None)
        at = (point.key, point.value, point.timestamp, point.step)
        metrics.append(Metric(*at, model_id, name, digest, sender.run_id))
    sender.log_points(metrics)


def _register(sender: Sender, operation: Operation, model: "LoggedModel") -> str:
    from mlflow.exceptions import MlflowException

    client, name = sender.client, operation["name"]
    try:
        client.create_registered_model(name, description=operation["about"])
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    found = find_version(client, name, {MODEL_ID_TAG: model.model_id}, oldest=True) if sender.again else None
    # The location, not the URI: MLflow looks a URI up in the process-wide store, whichever that is.
    found = found or client.create_model_version(
        name,
        model.artifact_location,
        sender.run_id,
        {**operation["tags"], MODEL_ID_TAG: model.model_id, TIME_TAG: str(operation["time"])},
        description=operation["description"],
        model_id=model.model_id,
    )
    version = str(found.version)
    _make_candidate(sender, operation, version)
    _note_version(sender, model.model_id, name, version)
    return version


def _note_version(sender: Sender, model_id: str, name: str, version: str) -> None:
    # What `mlflow.register_model` notes as well: the model's page lists its versions from this tag.
    noted = json.dumps([{"name": name, "version": version}])
    sender.client.set_logged_model_tags(model_id, {"mlflow.modelVersions": noted})


def _make_candidate(sender: Sender, operation: Operation, version: str) -> None:
    """Point `candidate` at a version, unless that comes late, and another run's has come meanwhile."""
    client, name = sender.client, operation["name"]
    if sender.late:
        other = version_by_alias(client, name, CANDIDATE)
        since = int(other.tags.get(TIME_TAG, other.creation_timestamp)) if other else 0
        if other and str(other.version) != version and since > operation["time"]:
            return
    client.set_registered_model_alias(name, CANDIDATE, version)
