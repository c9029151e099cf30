"""A trained classifier as an MLflow model that runs anywhere: code, weights, vocabulary and requirements inside."""

import importlib.metadata
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import components
from components.tracking.provenance import user_tags
from components.tracking.provenance import version as gradus_version
from components.tracking.runs import FLUSH_SIZE, NOTE_TAG, Run
from components.tracking.stores import tracking_errors
from components.versions import closure

if TYPE_CHECKING:
    from mlflow.entities import InputTag
    from mlflow.models import ModelSignature

PACKAGE = Path(components.__file__).parent
ENTRY = "components.serving.classifier"
"""The model from code: MLflow runs this module's file to load the model."""
MODEL_NAME = "model"
MODEL_ID_TAG = "gradus.model_id"
"""Tag of a version: the logged model that it was made from. MLflow's SQL registry does not keep it."""
NOT_SCORES = {"system", "curve", "seconds"}
"""Areas of metrics (what stands before the slash) that say nothing about the finished model."""
CANDIDATE = "candidate"
"""The alias of the version that was registered last and awaits promotion."""
REQUIREMENTS = ("mlflow-skinny", "numpy", "pandas", "pydantic", "safetensors", "tiktoken", "torch")
"""What the files in the model's `code/` import, and nothing else; a test holds the two together.

The skinny MLflow loads and serves models; the whole one would bring databases, plots and scikit-learn."""


@dataclass(frozen=True)
class LoggedClassifier:
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
) -> LoggedClassifier:
    """Log a saved classifier as an MLflow pyfunc model of the run, and register it as a new version.

    The model is made from code (`components/serving/classifier.py`): nothing is pickled. Its folder holds the weights
    as safetensors, the vocabulary, the source files that serving needs, and their requirements with versions, so that
    it loads where Gradus is not installed. The version gets the alias `candidate`.

    Args:
        run: the open run.
        model_folder: a folder that `components.model.saved` wrote.
        input_example: texts that stand in the model as an example of its input.
        registered_name: the registered model; none: the model is logged only.
        description: Markdown on the version's page.
        tags: tags of the model and its version, for example the dataset's digest.

    Raises:
        TrackingError: if the store cannot be written.
    """
    labels = read_labels(model_folder)
    all_tags = {"gradus.run_id": run.run_id, "gradus.version": gradus_version(), **(tags or {})}
    with tracking_errors(f"cannot log the model of MLflow run {run.run_id}"):
        run.flush()
        uri = _log(run, model_folder, labels, list(input_example), {**all_tags, NOTE_TAG: description})
        if registered_name is None:
            return LoggedClassifier(uri)
        return LoggedClassifier(uri, _register(run, uri, registered_name, description, all_tags))


def link_model(run: Run, model_uri: str) -> None:
    """Show a model that an earlier run logged (`models:/m-...`) among this run's outputs.

    Raises:
        TrackingError: if there is no such model or the store cannot be written.
    """
    from mlflow.entities import LoggedModelOutput

    with tracking_errors(f"cannot link {model_uri} to MLflow run {run.run_id}"):
        model = run.client.get_logged_model(model_uri.removeprefix("models:/"))
        run.client.log_outputs(run.run_id, [LoggedModelOutput(model.model_id, step=0)])


def _log(run: Run, folder: Path, labels: list[str], example: list[str], tags: dict[str, str]) -> str:
    """Upload the model and return its URI. Half a model is marked FAILED, never READY."""
    from mlflow.entities import LoggedModelOutput

    client = run.client
    params = client.get_run(run.run_id).data.params
    tags = {**user_tags("gradus"), **tags}
    model = client.create_logged_model(run.experiment_id, MODEL_NAME, run.run_id, tags, params, "classifier")
    status = "FAILED"
    try:
        with tempfile.TemporaryDirectory() as scratch:
            local = Path(scratch) / "model"
            write_model(local, folder, labels, example, run_id=run.run_id, logged=model)
            client.log_model_artifacts(model.model_id, str(local))
        client.log_outputs(run.run_id, [LoggedModelOutput(model.model_id, step=0)])
        _link_metrics(run, model.model_id)
        status = "READY"
    finally:
        client.finalize_logged_model(model.model_id, status)  # type: ignore[arg-type]
    return f"models:/{model.model_id}"


def write_model(
    target: Path, model_folder: Path, labels: list[str], example: list[str], run_id: str | None, logged: Any = None
) -> None:
    """Write the MLflow model into `target`, an absent folder. Needs no store.

    Args:
        target: where to.
        model_folder: the saved classifier.
        labels: its labels in order.
        example: texts for the input example.
        run_id: the run that made it.
        logged: MLflow's `LoggedModel`, if the model has an entry in a store.
    """
    import mlflow.pyfunc
    import pandas as pd
    from mlflow.models import Model

    entry = {} if logged is None else {"model_id": logged.model_id, "artifact_path": logged.artifact_location}
    with tempfile.TemporaryDirectory() as scratch, _no_uv_project():
        mlflow.pyfunc.save_model(
            path=str(target),
            mlflow_model=Model(run_id=run_id, **entry),
            python_model=str(closure(ENTRY)[ENTRY]),
            code_paths=[str(copy_sources(Path(scratch)))],
            artifacts={"model": str(model_folder)},
            pip_requirements=requirements(),
            signature=signature(labels),
            input_example=pd.DataFrame({"text": example}),
        )
    for cache in target.rglob("__pycache__"):
        shutil.rmtree(cache)


@contextmanager
def _no_uv_project() -> Iterator[None]:
    # MLflow would copy the pyproject.toml and uv.lock of the working directory, whatever they are, into the model.
    before = os.environ.get("MLFLOW_UV_AUTO_DETECT")
    os.environ["MLFLOW_UV_AUTO_DETECT"] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ["MLFLOW_UV_AUTO_DETECT"]
        else:
            os.environ["MLFLOW_UV_AUTO_DETECT"] = before


def signature(labels: Sequence[str]) -> "ModelSignature":
    """Return the model's signature: a text in; label, its probability, and every label's probability out.

    The input has no name on purpose: MLflow refuses lists of strings for a named column. The model itself checks that
    a table's column is called `text`.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    number = DataType.double
    outputs = [ColSpec(DataType.string, "label"), ColSpec(number, "probability")]
    return ModelSignature(
        inputs=Schema([ColSpec(DataType.string)]),
        outputs=Schema([*outputs, *(ColSpec(number, f"p_{label}") for label in labels)]),
        params=ParamSchema([ParamSpec("batch_size", DataType.long, 32)]),
    )


def read_labels(model_folder: Path) -> list[str]:
    """Return the labels of a saved classifier in order."""
    return list(json.loads((model_folder / "model.json").read_text())["labels"])


def requirements() -> list[str]:
    """Return what the model needs, pinned to what is installed, without a build's suffix (`2.13.0`, not `2.13.0+cpu`).

    A suffix names a build that the index of the machine that serves may not have.
    """
    return [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in REQUIREMENTS]


def copy_sources(target: Path) -> Path:
    """Copy the source files that serving imports into `target/components`, and return that folder."""
    sources = set(closure(ENTRY).values())
    folders = {folder for source in sources for folder in source.parents if folder.is_relative_to(PACKAGE)}
    for source in sources | {folder / "__init__.py" for folder in folders}:
        copy = target / PACKAGE.name / source.relative_to(PACKAGE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copy)
    return target / PACKAGE.name


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


def _register(run: Run, uri: str, name: str, description: str, tags: dict[str, str]) -> str:
    from mlflow.exceptions import MlflowException

    client = run.client
    try:
        client.create_registered_model(name, description="Text classifier, fine-tuned by Gradus.")
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
