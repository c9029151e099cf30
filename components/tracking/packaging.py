"""A trained model in MLflow: uploaded once, shown on its run's page, registered as a version if it has a name."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.tracking.packages import Package, classifier_package, language_model_package
from components.tracking.provenance import user_tags
from components.tracking.provenance import version as gradus_version
from components.tracking.resuming import NOTE_TAG, own_models
from components.tracking.runs import FLUSH_SIZE, Run
from components.tracking.stores import tracking_errors

if TYPE_CHECKING:
    from mlflow.entities import InputTag

MODEL_NAME = "model"
MODEL_ID_TAG = "gradus.model_id"
"""Tag of a version: the logged model that it was made from. MLflow's SQL registry does not keep it."""
NOT_SCORES = {"system", "curve", "seconds"}
"""Areas of metrics (what stands before the slash) that say nothing about the finished model."""
CANDIDATE = "candidate"
"""The alias of the version that was registered last and awaits promotion."""


@dataclass(frozen=True)
class PackagedModel:
    """Where a logged model is: `uri` names it for ever, `version` is None unless it was registered."""

    uri: str
    version: str | None = None


def log_classifier(
    run: Run,
    model_folder: Path,
    input_example: Sequence[str],
    registered_name: str | None = None,
    description: str = "",
    tags: Mapping[str, str] | None = None,
    reading: Mapping[str, Any] | None = None,
) -> PackagedModel:
    """Log a saved classifier as an MLflow pyfunc model of the run, and register it as a new version.

    Args:
        run: the open run.
        model_folder: a folder that `components.model.saved` wrote.
        input_example: texts that stand in the model as an example of its input.
        registered_name: the registered model; none: the model is logged only.
        description: Markdown on the version's page.
        tags: tags of the model and its version, for example the dataset's digest.
        reading: how the file that it learnt from was read: keys of `source`, its columns among them.

    Raises:
        TrackingError: if the store cannot be written.
    """
    package = classifier_package(model_folder, input_example, reading=reading)
    return log_package(run, package, registered_name, description, tags)


def log_language_model(
    run: Run,
    model_folder: Path,
    example_rows: Sequence[Mapping[str, str]],
    registered_name: str | None = None,
    description: str = "",
    tags: Mapping[str, str] | None = None,
    reading: Mapping[str, Any] | None = None,
) -> PackagedModel:
    """Log a saved language model as an MLflow pyfunc model of the run, and register it as a new version.

    The model answers a table of `instruction` and, optionally, `input` with one of `response`.

    Args:
        run: the open run.
        model_folder: a folder that `components.model.saved_gpt` wrote.
        example_rows: entries (`instruction`, `input`) that stand in the model as an example of its input.
        registered_name: the registered model; none: the model is logged only.
        description: Markdown on the version's page.
        tags: tags of the model and its version, for example the dataset's digest.
        reading: how the file that it learnt from was read: keys of `source`, its columns among them.

    Raises:
        TrackingError: if the store cannot be written.
    """
    package = language_model_package(model_folder, example_rows, reading)
    return log_package(run, package, registered_name, description, tags)


def write_model(target: Path, model_folder: Path, labels: list[str], example: list[str], run_id: str | None) -> None:
    """Write a saved classifier as an MLflow model into `target`, an absent folder. Needs no store."""
    classifier_package(model_folder, example, labels).write(target, run_id)


def log_package(
    run: Run,
    package: Package,
    registered_name: str | None = None,
    description: str = "",
    tags: Mapping[str, str] | None = None,
) -> PackagedModel:
    """Log a model of any kind as an MLflow pyfunc model of the run, and register it as a new version.

    The model is made from code (`components/serving`): nothing is pickled. Its folder holds the weights as safetensors,
    the vocabulary, the source files that serving needs, and their requirements with versions, so that it loads where
    Gradus is not installed. The version gets the alias `candidate`.

    Raises:
        TrackingError: if the store cannot be written.
    """
    all_tags = {"gradus.run_id": run.run_id, "gradus.version": gradus_version(), **(tags or {})}
    with tracking_errors(f"cannot log the model of MLflow run {run.run_id}"):
        run.flush()
        uri = _log(run, package, {**all_tags, NOTE_TAG: description})
        if registered_name is None:
            return PackagedModel(uri)
        version = _register(run, uri, registered_name, package.kind.description, description, all_tags)
        return PackagedModel(uri, version)


def link_model(run: Run, model_uri: str) -> None:
    """Show a model that an earlier run logged (`models:/m-...`) among this run's outputs.

    Raises:
        TrackingError: if there is no such model or the store cannot be written.
    """
    from mlflow.entities import LoggedModelOutput

    with tracking_errors(f"cannot link {model_uri} to MLflow run {run.run_id}"):
        model = run.client.get_logged_model(model_uri.removeprefix("models:/"))
        linked = run.client.get_run(run.run_id).outputs
        if linked and model.model_id in (output.model_id for output in linked.model_outputs):
            return  # by this run, before its process was killed
        run.client.log_outputs(run.run_id, [LoggedModelOutput(model.model_id, step=0)])


def _log(run: Run, package: Package, tags: dict[str, str]) -> str:
    """Upload the model and return its URI. Half a model is marked FAILED, never READY."""
    from mlflow.entities import LoggedModelOutput

    client = run.client
    if run.logged is not None:  # its process was killed, perhaps between this and what follows
        for ready in own_models(client, run.experiment_id, run.run_id, "READY"):
            if tags.items() <= ready.tags.items():
                return f"models:/{ready.model_id}"
    params = client.get_run(run.run_id).data.params
    tags = {**user_tags("gradus"), **tags}
    model = client.create_logged_model(run.experiment_id, MODEL_NAME, run.run_id, tags, params, package.kind.name)
    status = "FAILED"
    try:
        with tempfile.TemporaryDirectory() as scratch:
            local = Path(scratch) / "model"
            package.write(local, run.run_id, model)
            client.log_model_artifacts(model.model_id, str(local))
        client.log_outputs(run.run_id, [LoggedModelOutput(model.model_id, step=0)])
        _link_metrics(run, model.model_id)
        status = "READY"
    finally:
        client.finalize_logged_model(model.model_id, status)  # type: ignore[arg-type]
    return f"models:/{model.model_id}"


def _link_metrics(run: Run, model_id: str) -> None:
    """Show the run's scores on the model's page, with the data they were taken on.

    The same points again, so that the run's own curves stay as they are. Curves and system metrics are left out.
    """
    from mlflow.entities import Metric

    found = run.client.get_run(run.run_id)
    datasets = {_tag(read.tags, "split"): read.dataset for read in found.inputs.dataset_inputs} if found.inputs else {}
    metrics = []
    for point in found.data._metric_objs:
        area = point.key.partition("/")[0]
        if area in NOT_SCORES:
            continue
        data = (
            {"dataset_name": datasets[area].name, "dataset_digest": datasets[area].digest} if area in datasets else {}
        )
        metrics.append(Metric(point.key, point.value, point.timestamp, point.step, model_id, run_id=run.run_id, **data))
    for start in range(0, len(metrics), FLUSH_SIZE):
        run.client.log_batch(run.run_id, metrics=metrics[start : start + FLUSH_SIZE])


def _tag(tags: "Sequence[InputTag]", key: str) -> str | None:
    return next((tag.value for tag in tags if tag.key == key), None)


def _register(run: Run, uri: str, name: str, about: str, description: str, tags: dict[str, str]) -> str:
    from mlflow.exceptions import MlflowException

    client = run.client
    try:
        client.create_registered_model(name, description=about)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    model = client.get_logged_model(uri.removeprefix("models:/"))
    # The location, not the URI: MLflow looks a URI up in the process-wide store, whichever that is.
    created = client.create_model_version(
        name,
        model.artifact_location,
        run.run_id,
        {**tags, MODEL_ID_TAG: model.model_id},
        description=description,
        model_id=model.model_id,
    )
    client.set_registered_model_alias(name, CANDIDATE, str(created.version))
    _note_version(run, model.model_id, name, str(created.version))
    return str(created.version)


def _note_version(run: Run, model_id: str, name: str, version: str) -> None:
    # What `mlflow.register_model` notes as well: the model's page lists its versions from this tag.
    versions = json.dumps([{"name": name, "version": version}])
    run.client.set_logged_model_tags(model_id, {"mlflow.modelVersions": versions})
