"""What MLflow's records refer to, and runs that were deleted in it, with their files."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.tracking.names import STEPS_TAG
from components.tracking.provenance import is_orphan
from components.tracking.relocation import ARTIFACTS
from components.tracking.stores import every, local_uri, open_client, tracking_errors, tracking_uri
from components.tracking.sweeps import SWEEP_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient

ID = re.compile(r"(?:m-)?[0-9a-f]{32}")
"""Of a run or a logged model, wherever one is mentioned."""


@dataclass(frozen=True)
class DeletedRun:
    """A run that was deleted in MLflow, which keeps it and its files all the same."""

    run_id: str
    name: str
    folders: tuple[Path, ...]
    """Its files and those of its models, as far as they lie on this machine."""
    models: tuple[str, ...]
    """MLflow's ids of the models that it logged."""


@dataclass(frozen=True)
class References:
    """What is recorded of the runs of a store."""

    steps: frozenset[str]
    """What runs that are kept have taken from the store of steps, as `STEP/KEY`."""
    sweeps: frozenset[str]
    """What their sweeps are known again by."""
    deleted: tuple[DeletedRun, ...] = ()
    """The others, if this is the local store: those of a server are for `mlflow gc`, on its machine."""
    on_server: int = 0
    """How many there are, if it is a server."""


@dataclass
class _Records:
    """All runs and logged models by id, with what each mentions."""

    texts: dict[str, str] = field(default_factory=dict)
    runs: dict[str, Any] = field(default_factory=dict)
    models: dict[str, Any] = field(default_factory=dict)


def references(home: Path) -> References:
    """Return what the runs of a store refer to, and which of them were deleted and are referred to by nothing.

    Kept are runs that were not deleted, those whose models are registered, and whatever is mentioned by one of these:
    the run whose model it took over, or went on from.

    Raises:
        TrackingError: if the store cannot be read.
    """
    client = open_client(home)
    with tracking_errors("cannot look through the MLflow store"):
        found = _read(client)
        versions = list(every(client.search_model_versions))
        alive = [run_id for run_id, run in found.runs.items() if _is_alive(run)]
        kept = _mentioned([*alive, *_ids(map(_text_of_version, versions))], found.texts)
        deleted = [run for run_id, run in found.runs.items() if run_id not in kept]
    kept_tags = [run.data.tags for run_id, run in found.runs.items() if run_id in kept]
    steps = frozenset(step for tags in kept_tags for step in tags.get(STEPS_TAG, "").split())
    sweeps = frozenset(tags[SWEEP_TAG] for tags in kept_tags if SWEEP_TAG in tags)
    if tracking_uri(home) != local_uri(home):
        return References(steps, sweeps, on_server=len(deleted))
    return References(steps, sweeps, tuple(_deleted(run, found.models) for run in deleted))


def purge(run: DeletedRun, home: Path) -> None:
    """Remove a deleted run of the local store for good: its models and files, and at last what is recorded of it.

    Raises:
        TrackingError: if the store cannot be written; called again, it goes on.
    """
    import shutil

    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    client = open_client(home)
    with tracking_errors(f"cannot remove run {run.run_id}"):
        store = SqlAlchemyStore(local_uri(home), str(home / ARTIFACTS))  # type: ignore[no-untyped-call]
        for folder in run.folders:
            shutil.rmtree(folder, ignore_errors=True)
        for model in run.models:
            client.delete_logged_model(model)
            store._hard_delete_logged_model(model)  # type: ignore[no-untyped-call]
        store._hard_delete_run(run.run_id)  # type: ignore[no-untyped-call]


def _read(client: "MlflowClient") -> _Records:
    from mlflow.entities import ViewType

    found = _Records()
    experiments = [each.experiment_id for each in every(client.search_experiments, ViewType.ALL)]
    for run in every(client.search_runs, experiments, "", ViewType.ALL):
        logged = [output.model_id for output in run.outputs.model_outputs] if run.outputs else []
        found.runs[run.info.run_id] = run
        found.texts[run.info.run_id] = _text({**run.data.params, **run.data.tags}, logged)
    for model in every(client.search_logged_models, experiments):
        found.models[model.model_id] = model
        found.texts[model.model_id] = _text(model.tags, [model.source_run_id or ""])
    return found


def _is_alive(run: Any) -> bool:
    """Tell whether a run was not deleted, or is under way in spite of that."""
    under_way = run.info.status == "RUNNING" and not is_orphan(run.data.tags)
    return run.info.lifecycle_stage == "active" or under_way


def _text(values: Mapping[str, str], more: Iterable[str]) -> str:
    return " ".join([*(value for name, value in values.items() if name != STEPS_TAG), *more])


def _text_of_version(version: Any) -> str:
    return _text(version.tags, [version.run_id or "", version.model_id or "", str(version.source)])


def _ids(texts: Iterable[str]) -> set[str]:
    return {found for text in texts for found in ID.findall(text)}


def _mentioned(first: Iterable[str], texts: Mapping[str, str]) -> set[str]:
    """Return `first` and all that is mentioned by one of them, or by what that mentions, and so on."""
    found: set[str] = set()
    left = list(first)
    while left:
        each = left.pop()
        if each not in found:
            found.add(each)
            left.extend(_ids([texts.get(each, "")]))
    return found


def _deleted(run: Any, models: Mapping[str, Any]) -> DeletedRun:
    made = [model for model in models.values() if model.source_run_id == run.info.run_id]
    own = _folder(run.info.artifact_uri)
    folders = [own.parent if own.parent.name == run.info.run_id else own]
    folders += [_folder(model.artifact_location) for model in made]
    return DeletedRun(
        run.info.run_id,
        run.info.run_name or "run",
        tuple(folder for folder in folders if folder.is_absolute() and folder.is_dir()),
        tuple(model.model_id for model in made),
    )


def _folder(location: str) -> Path:
    return Path(location.removeprefix("file://"))
