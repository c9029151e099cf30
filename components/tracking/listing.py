"""Lists of what is recorded: runs, and registered models with their versions."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from components.core.errors import TrackingError
from components.tracking.names import COMMIT_TAG, ERROR_TAG, PRESET_TAG, SET_TAG, VERDICT_TAG
from components.tracking.registry.finding import versions_of
from components.tracking.stores import every, open_client, quoted, tracking_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

NEWEST = ["attributes.start_time DESC"]
AT_ONCE = 100
"""Runs that one search asks for by their ids: databases and MLflow's parser limit the length of a condition."""


class ListedRun(BaseModel):
    """A run as a list shows it."""

    run_id: str
    name: str
    status: str
    started: str
    """ISO 8601, UTC."""
    seconds: float | None
    """None while it runs."""
    pipeline: str
    """Which flow it was; empty of old runs."""
    preset: str
    set: str
    """What `--set` changed in the preset."""
    model: str | None
    """`NAME/VERSION`, with the version's aliases behind an @."""
    metrics: dict[str, float]
    verdict: str = ""
    """In a sentence, how its model did."""
    error: str = ""
    code: str = ""
    """The commit of the code that ran."""


class ListedVersion(BaseModel):
    """A version of a registered model."""

    version: str
    aliases: list[str]
    run_id: str
    registered: str
    """ISO 8601, UTC."""
    tags: dict[str, str]


class ListedModel(BaseModel):
    """A registered model with its versions, the newest first."""

    name: str
    description: str
    versions: list[ListedVersion]


def list_runs(home: Path, filters: Mapping[str, str], where: str | None, most: int) -> list[ListedRun]:
    """Return recorded runs, the newest first.

    Args:
        home: the folder of the local store.
        filters: `preset` and `status`, as far as they are wanted.
        where: a filter in MLflow's own language, such as `metrics."test/accuracy" > 0.9`.
        most: how many at most.

    Raises:
        TrackingError: if the store cannot be read, or does not understand `where`.
    """
    client = open_client(home)
    conditions = [where] if where else []
    if preset := filters.get("preset"):
        conditions.append(f"tags.`{PRESET_TAG}` = {quoted(preset)}")
    if status := filters.get("status"):
        conditions.append(f"attributes.status = {quoted(status.upper())}")
    with tracking_errors(f"cannot list runs{f' where {where}' if where else ''}"):
        experiments = [each.experiment_id for each in every(client.search_experiments)]
        found = client.search_runs(experiments, " and ".join(conditions), max_results=most, order_by=NEWEST)
        made = _models_by_run(client, [run.info.run_id for run in found])
    return [_listed(run, made.get(run.info.run_id)) for run in found]


def listed_run(run_id: str, home: Path) -> ListedRun:
    """Return one run.

    Raises:
        TrackingError: if it is not there, or the store cannot be read.
    """
    client = open_client(home)
    with tracking_errors(f"cannot look up the run {run_id}"):
        return _listed(client.get_run(run_id), _models_by_run(client, [run_id]).get(run_id))


def listed_runs(run_ids: Iterable[str], home: Path) -> dict[str, ListedRun]:
    """Return runs by their ids, deleted ones too, without the versions that they made (`model`).

    Those that are not there are left out.

    Raises:
        TrackingError: if the store cannot be read.
    """
    from mlflow.entities import ViewType

    client, found = open_client(home), {}
    with tracking_errors("cannot look up runs"):
        experiments = [each.experiment_id for each in every(client.search_experiments, ViewType.ALL)]
        for some in _batches(run_ids):
            for run in client.search_runs(experiments, _with_ids("attributes.run_id", some), ViewType.ALL):
                found[run.info.run_id] = _listed(run, None)
    return found


def list_models(home: Path, name: str | None = None) -> list[ListedModel]:
    """Return the registered models by name, or the one called `name`.

    Raises:
        TrackingError: if there is none of that name, or the store cannot be read.
    """
    client = open_client(home)
    with tracking_errors("cannot list models"):
        found = {each.name: each for each in every(client.search_registered_models)}
        if name is not None and name not in found:
            known = f"there are {', '.join(found)}" if found else "there is none yet"
            raise TrackingError(f"there is no registered model {name!r}; {known}")
        return [_listed_model(client, found[each]) for each in ([name] if name else sorted(found))]


def _listed_model(client: "MlflowClient", model: "RegisteredModel") -> ListedModel:
    aliases = _aliases(model)
    return ListedModel(
        name=model.name,
        description=model.description or "",
        versions=[
            _listed_version(each, aliases.get(str(each.version), [])) for each in versions_of(client, model.name)
        ],
    )


def _aliases(model: "RegisteredModel") -> dict[str, list[str]]:
    """Return the aliases of each version by its number: a version that a search finds does not know its own."""
    found: dict[str, list[str]] = {}
    for alias, number in sorted((model.aliases or {}).items()):
        found.setdefault(str(number), []).append(alias)
    return found


def _listed_version(version: "ModelVersion", aliases: list[str]) -> ListedVersion:
    return ListedVersion(
        version=str(version.version),
        aliases=aliases,
        run_id=str(version.run_id or ""),
        registered=_time(version.creation_timestamp),
        tags=dict(version.tags),
    )


def _models_by_run(client: "MlflowClient", run_ids: Iterable[str]) -> dict[str, str]:
    """Return the newest version that each of some runs made, by the run's id."""
    found: dict[str, str] = {}
    models = {each.name: _aliases(each) for each in every(client.search_registered_models)}
    for some in _batches(run_ids) if models else ():
        versions = every(client.search_model_versions, _with_ids("run_id", some))
        for version in sorted(versions, key=lambda each: (each.name, int(each.version))):
            aliases = "".join(f" @{alias}" for alias in models[version.name].get(str(version.version), []))
            found[str(version.run_id)] = f"{version.name}/{version.version}{aliases}"
    return found


def _batches(run_ids: Iterable[str]) -> list[list[str]]:
    distinct = sorted({each for each in run_ids if each})
    return [distinct[first : first + AT_ONCE] for first in range(0, len(distinct), AT_ONCE)]


def _with_ids(key: str, run_ids: Iterable[str]) -> str:
    return f"{key} IN ({', '.join(map(quoted, run_ids))})"


def _listed(run: "Run", model: str | None) -> ListedRun:
    info, data = run.info, run.data
    return ListedRun(
        run_id=info.run_id,
        name=info.run_name or "run",
        status=info.status,
        started=_time(info.start_time),
        seconds=max(info.end_time - info.start_time, 0) / 1000 if info.end_time else None,  # clocks go back
        pipeline=data.params.get("pipeline", ""),
        preset=data.tags.get(PRESET_TAG, ""),
        set=data.tags.get(SET_TAG, ""),
        model=model,
        metrics=data.metrics,
        verdict=data.tags.get(VERDICT_TAG, ""),
        error=data.tags.get(ERROR_TAG, ""),
        code=data.tags.get(COMMIT_TAG, ""),
    )


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")
