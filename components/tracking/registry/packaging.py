"""A trained model in MLflow: uploaded once, shown on its run's page, registered as a version if it has a name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.tracking.names import CANDIDATE, HASHES_TAG, MODEL_ID_TAG, MODEL_NAME, NOTE_TAG
from components.tracking.provenance import user_tags
from components.tracking.provenance import version as gradus_version
from components.tracking.registry.packages import Package, classifier_package, language_model_package
from components.tracking.runs import Run

__all__ = [
    "CANDIDATE",
    "HASHES_TAG",
    "MODEL_ID_TAG",
    "MODEL_NAME",
    "PackagedModel",
    "link_model",
    "log_classifier",
    "log_language_model",
    "log_package",
    "write_model",
]


@dataclass(frozen=True)
class PackagedModel:
    """Where a logged model is."""

    uri: str | None
    """Names it for ever; None while it waits to be sent."""
    version: str | None = None
    """None unless it was registered."""
    cached_from: str | None = None
    """The run that made it, if that was another one."""


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
        model_folder: a folder that `components.models.saved.classifier` wrote.
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
        model_folder: a folder that `components.models.saved.language_model` wrote.
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

    While the store is away, the model is kept; where it will be is not known then.

    Args:
        run: the open run.
        package: the model.
        registered_name: the registered model; none: the model is logged only.
        description: Markdown on the version's page.
        tags: tags of the model and its version.

    Raises:
        TrackingError: if the store cannot be written.
    """
    kept = run.new_folder() / MODEL_NAME
    hashes = package.write(kept, run.run_id)
    found = run.record(
        "model",
        kept=run.kept(kept),
        name=registered_name,
        tags={"gradus.run_id": run.run_id, "gradus.version": gradus_version(), HASHES_TAG: hashes, **(tags or {})},
        model_tags={**user_tags("gradus"), NOTE_TAG: description},
        description=description,
        kind=package.kind.name,
        about=package.kind.description,
    )
    return PackagedModel(found.get("model_uri"), found.get("version"), found.get("cached_from"))


def link_model(run: Run, model_uri: str) -> None:
    """Show a model that an earlier run logged (`models:/m-...`) among this run's outputs.

    Raises:
        TrackingError: if there is no such model or the store cannot be written.
    """
    run.record("link", model_uri=model_uri, name=None, version=None, cached_from=None)
