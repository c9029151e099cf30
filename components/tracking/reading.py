"""Reading recorded runs back: by id, by the beginning of one, or by the model that they made."""

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from components.core.errors import TrackingError
from components.tracking.names import CACHED_FROM, ERROR_TAG, MODEL_ID_TAG, SOURCE_TAG
from components.tracking.registry.finding import (
    LOGGED_MODEL,
    RUN_MODEL,
    addressed_version,
    find_origin,
    get_run,
    unless_absent,
)
from components.tracking.stores import every, open_client, tracking_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

PREFIX = re.compile(r"[0-9a-f]{8,31}")
PREDICTIONS, RESPONSES = "predictions.parquet", "responses.parquet"
"""Artifacts: what a run's model predicted or answered for its test rows."""
FACTS, CONFIG = "facts.json", "config.yaml"
"""Artifacts: what the steps of a run found out, and its config."""
HINT = "give a run's id or its first 8 characters or more, models:/NAME@ALIAS or models:/NAME/VERSION"


@dataclass(frozen=True)
class RecordedRun:
    """What a run left, as far as two runs can be compared by it."""

    run_id: str
    name: str
    status: str
    """FINISHED, FAILED, KILLED or RUNNING."""
    params: Mapping[str, str] = field(repr=False)
    metrics: Mapping[str, float] = field(repr=False)
    data: Mapping[str, str] = field(repr=False)
    """SHA-256 of the data by split."""
    cached_from: str | None = None
    """The run whose steps this one took from the store, if it took all."""
    error: str = ""
    """Why it failed or was killed, if it was."""
    source: str | None = None
    """A hash of the files that its source held; None of older runs."""

    @classmethod
    def of(cls, run: "Run") -> "RecordedRun":
        """Return what is needed of MLflow's own record."""
        inputs = run.inputs.dataset_inputs if run.inputs else []
        tags = [{tag.key: tag.value for tag in each.tags} for each in inputs]
        return cls(
            run_id=run.info.run_id,
            name=run.info.run_name or "run",
            status=run.info.status,
            params=run.data.params,
            metrics=run.data.metrics,
            data={each["split"]: each["sha256"] for each in tags if {"split", "sha256"} <= each.keys()},
            cached_from=run.data.tags.get(CACHED_FROM),
            error=run.data.tags.get(ERROR_TAG, ""),
            source=run.data.tags.get(SOURCE_TAG),
        )

    @property
    def title(self) -> str:
        """What to call the run in a sentence."""
        return f"{self.name} {self.run_id[:8]}"

    @property
    def pipeline(self) -> str:
        """Which flow it was; empty of old runs, which do not say it."""
        return self.params.get("pipeline", "")

    @property
    def finished(self) -> bool:
        """Whether it came to its end."""
        return self.status == "FINISHED"


@dataclass(frozen=True)
class Registered:
    """A version of a registered model, and the run that made it."""

    name: str
    number: str
    run_id: str

    @classmethod
    def of(cls, version: "ModelVersion") -> "Registered":
        """Return what is needed of MLflow's own record."""
        return cls(str(version.name), str(version.version), str(version.run_id or ""))


def find_run(address: str, home: Path) -> RecordedRun:
    """Return the run that an address names, in whatever state it is.

    Args:
        address: a run id, the beginning of one (8 characters or more), `runs:/RUN`, or a model's address
            (`models:/NAME@ALIAS`, `models:/NAME/VERSION`, `models:/m-...`), which stands for the run that made it.
        home: the folder of the local store.

    Raises:
        TrackingError: if there is no such run, or several begin like this.
    """
    client = open_client(home)
    with tracking_errors(f"cannot look up the run {address}"):
        return RecordedRun.of(get_run(client, _run_id(client, address), HINT))


def find_registered(address: str, name: str | None, home: Path) -> Registered:
    """Return the registered version that an address names: a model's own, or the newest of the model that a run made.

    Args:
        address: as in `find_run`.
        name: the registered model, where a run's model stands under several names.
        home: the folder of the local store.

    Raises:
        TrackingError: if there is none, or it is registered under several names.
    """
    client = open_client(home)
    with tracking_errors(f"cannot look up the model of {address}"):
        if version := addressed_version(client, address, HINT):
            if name not in {None, version.name}:
                raise TrackingError(f"{address} is no version of {name}; leave --model-name out")
            return Registered.of(version)
        if match := LOGGED_MODEL.fullmatch(address):
            what, models = address, [match["id"]]
        else:
            outputs = get_run(client, run_id := _run_id(client, address), HINT).outputs
            what, models = f"run {run_id}", [output.model_id for output in outputs.model_outputs] if outputs else []
        tags = [f"tags.`{MODEL_ID_TAG}` = '{model}'" for model in models]
        found = [each for tag in tags for each in client.search_model_versions(tag) if name in {None, each.name}]
    if len(names := sorted({version.name for version in found})) > 1:
        raise TrackingError(f"the model of {what} is registered as {' and '.join(names)}; say which: --model-name NAME")
    if not found:
        where = f" as {name}" if name else ""
        raise TrackingError(f"{what} has no registered model{where}; set tracking.model_name and run it again")
    return Registered.of(max(found, key=lambda each: int(each.version)))


@contextmanager
def artifacts_of(run: RecordedRun, names: Iterable[str], home: Path) -> Iterator[dict[str, Path]]:
    """Fetch files and folders of a run, each from the run that it took all steps from where it has none itself.

    What neither has is left out. The files are deleted afterwards.

    Raises:
        TrackingError: if the store cannot be read.
    """
    client = open_client(home)
    with tempfile.TemporaryDirectory(prefix="gradus-") as folder:
        found = {}
        for name in names:
            with tracking_errors(f"cannot fetch {name} of run {run.run_id}"):
                paths = (fetch(client, run_id, name, folder) for run_id in (run.run_id, run.cached_from) if run_id)
                if path := next(filter(None, paths), None):
                    found[name] = path
        yield found


def fetch(client: "MlflowClient", run_id: str, name: str, folder: str) -> Path | None:
    """Fetch an artifact of a run into a folder; None if the run, or such an artifact, is not there."""
    there = unless_absent(lambda: [file.path for file in client.list_artifacts(run_id)])
    return Path(client.download_artifacts(run_id, name, folder)) if name in (there or []) else None


def curves_of(run: RecordedRun, names: Iterable[str], home: Path) -> dict[str, list[tuple[int, float]]]:
    """Return steps and values of those of a run's curves that it has, by name.

    Raises:
        TrackingError: if the store cannot be read.
    """
    client = open_client(home)
    with tracking_errors(f"cannot read the curves of run {run.run_id}"):
        return {
            name: sorted((point.step, point.value) for point in client.get_metric_history(run.run_id, name))
            for name in names
            if name in run.metrics
        }


def _run_id(client: "MlflowClient", address: str) -> str:
    if match := RUN_MODEL.fullmatch(address):
        return match["run"]
    if PREFIX.fullmatch(address):
        experiments = [experiment.experiment_id for experiment in every(client.search_experiments)]
        found = client.search_runs(experiments, f"attributes.run_id LIKE '{address}%'", max_results=2)
        if len(found) != 1:
            raise TrackingError(f"{'several runs begin' if found else 'no run begins'} with {address}; {HINT}")
        return str(found[0].info.run_id)
    version = addressed_version(client, address, HINT)
    if version is None and not LOGGED_MODEL.fullmatch(address):
        raise TrackingError(f"{address!r} names no run; {HINT}")
    run_id = version.run_id if version else find_origin(client, address).run_id
    if not run_id:
        raise TrackingError(f"no run made {address}; {HINT}")
    return str(run_id)
