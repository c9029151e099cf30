"""Runs and models as people look for them: with the metric that decides, in the words of the table of metrics."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel

from components.evaluation.metrics import METRICS
from components.tracking.listing import (
    ListedModel,
    ListedRun,
    ListedVersion,
    list_models,
    list_runs,
    listed_run,
    listed_runs,
)
from components.tracking.reading import find_run
from pipelines.kinds import KINDS, deciding, kind_named

TEST = "test/"
MINUTE, HOUR = 60, 3600


class FoundRun(ListedRun):
    """A run as it is shown."""

    primary: str
    """The metric that decides with its value on the test set; empty where there is none."""

    @property
    def took(self) -> str:
        """How long it took, in words."""
        if self.seconds is None:
            return "–"
        if self.seconds < MINUTE:
            return f"{self.seconds:.0f} s"
        minutes, seconds = divmod(round(self.seconds), MINUTE)
        return f"{minutes} min {seconds:02} s" if self.seconds < HOUR else f"{minutes // 60} h {minutes % 60:02} min"

    @property
    def test(self) -> dict[str, str]:
        """The figures of the test set by their titles, the metric that decides first."""
        names = sorted(METRICS, key=lambda name: name != deciding_of(self.pipeline))
        there = {name: self.metrics[f"{TEST}{name}"] for name in names if f"{TEST}{name}" in self.metrics}
        return {METRICS[name].title_with_unit: f"{value:.{METRICS[name].digits}f}" for name, value in there.items()}


class FoundVersion(ListedVersion):
    """A version as it is shown."""

    primary: str = ""
    run_name: str = ""
    verdict: str = ""
    pipeline: str = ""


class FoundModel(BaseModel):
    """A registered model as it is shown."""

    name: str
    description: str
    versions: list[FoundVersion]

    def shown(self, alias: str) -> str:
        """Return the version that has an alias, with its figure; a dash where none has."""
        version = next((each for each in self.versions if alias in each.aliases), None)
        return f"version {version.version}  {version.primary}" if version else "–"


def find(home: Path, filters: Mapping[str, str], where: str | None, most: int) -> list[FoundRun]:
    """Return runs, the newest first (`components.tracking.listing.list_runs`).

    Raises:
        TrackingError: if the store cannot be read, or does not understand `where`.
    """
    return [_found(run) for run in list_runs(home, filters, where, most)]


def find_one(address: str, home: Path) -> FoundRun:
    """Return the run that an address names (`components.tracking.reading.find_run`).

    Raises:
        TrackingError: if there is no such run, or the store cannot be read.
    """
    return _found(listed_run(find_run(address, home).run_id, home))


def find_models(home: Path, name: str | None = None) -> list[FoundModel]:
    """Return the registered models, or the one called `name`, with the figures of the runs that made them.

    Raises:
        TrackingError: if there is none of that name, or the store cannot be read.
    """
    models = list_models(home, name)
    wanted = {each.run_id for model in models for each in model.versions if name or each.aliases}
    runs = listed_runs(wanted, home)
    return [_found_model(model, runs) for model in models]


def lines(found: Sequence[BaseModel]) -> str:
    """Return what `--json` prints."""
    return json.dumps([each.model_dump() for each in found])


def deciding_of(pipeline: str) -> str:
    """Return the metric that decides between runs of a kind; nothing for kinds that are not known here."""
    kind = kind_named(pipeline)
    return deciding(kind) if kind in KINDS else ""


def _found(run: ListedRun) -> FoundRun:
    return FoundRun(**run.model_dump(), primary=_primary(run))


def _primary(run: ListedRun) -> str:
    name = deciding_of(run.pipeline)
    value = run.metrics.get(f"{TEST}{name}")
    return "" if value is None else f"{METRICS[name].title} {value:.{METRICS[name].digits}f}"


def _found_model(model: ListedModel, runs: Mapping[str, ListedRun]) -> FoundModel:
    """Return a model with the figures of those of its versions whose runs were looked up."""
    versions = []
    for each in model.versions:
        told = {}
        if run := runs.get(each.run_id):
            told = {
                "primary": _primary(run),
                "run_name": run.name,
                "verdict": run.verdict,
                "pipeline": run.pipeline,
            }
        versions.append(FoundVersion(**each.model_dump(), **told))
    return FoundModel(name=model.name, description=model.description, versions=versions)
