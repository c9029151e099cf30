"""Whether a model in use still does what it did: on what has arrived, beside the test split of its run."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from pydantic import BaseModel

from components.core.errors import ConfigError, NotComparable
from components.core.home import home
from components.evaluation.drift import Drift, Sample, drifts
from components.reporting.drift import drift_figure
from components.serving.load import load_model
from components.tracking.config import TrackingConfig
from components.tracking.reading import RecordedRun, Registered, artifacts_of, find_registered, find_run
from components.tracking.registry.finding import resolve_model
from components.tracking.runs import Run, open_run
from components.tracking.stores import tracking_uri
from pipelines.kind import kind_of, rows_of
from pipelines.kinds import kind_named, part_of

MONITORED_TAG = "gradus.monitored"
"""Tag of a run that watched: the version that it looked at."""
FEWEST = 30
"""Rows that have arrived: fewer tell nothing."""
RETRAINING = "retraining"
"""Folder among the artifacts of a run that watched: the preset that retrains, with old and new data."""


class WatchedKind(Protocol):
    """What a kind's `watch.WATCHED` knows of a model. Its rows have `text`, `class`, `value` and perhaps `wrong`."""

    artifact: str
    """Of a run: what its model said of the test split."""
    measures: tuple[str, str, str]
    """What class, value and error are (`components.evaluation.drift.TITLES`)."""
    axes: tuple[str, str]
    """The names of class and value in plots."""
    classes: list[str]
    most: int | None
    """Rows that are looked at, at most."""
    retrained: bool
    """Whether a champion can be retrained on what has arrived (`pipelines.service.retraining`)."""

    def tested(self, path: Path) -> tuple[pd.DataFrame, set[str]]:
        """Return all rows of the test split, as its kind reads them, and the words that training had, if known."""

    def labelled(self, config: Any) -> pd.DataFrame:
        """Return the rows of a config's source, once they are validated."""

    def unlabelled(self, config: Any, file: Path, most: int) -> pd.DataFrame:
        """Return the first rows of a file."""


class Watched(BaseModel):
    """What was seen of a champion."""

    model: str
    """`models:/NAME/VERSION`"""
    run_id: str
    """The MLflow run that holds what was seen."""
    rows: int
    labelled: bool
    drifts: list[Drift]
    degraded: bool
    sentence: str
    retraining: str | None = None
    """The address of the preset that retrains it on old and new data, if there is one."""


@dataclass(frozen=True)
class Champion:
    """A version that is in use, and the run that made it."""

    version: Registered
    run: RecordedRun
    watched: WatchedKind

    @property
    def uri(self) -> str:
        """Its address, which does not move as an alias does."""
        return f"models:/{self.version.name}/{self.version.number}"

    @classmethod
    def find(cls, model: str) -> "Champion":
        """Return the champion of a registered model, or the version that an address names.

        Raises:
            TrackingError: if there is none, or it cannot be read.
        """
        address = model if model.startswith("models:/") else f"models:/{model}@champion"
        version = find_registered(address, None, home())
        place = resolve_model(f"models:/{version.name}/{version.number}", home())
        loaded, run = load_model(place, tracking_uri(home())), find_run(version.run_id, home())
        return cls(version, run, part_of(kind_named(run.pipeline), "watch").WATCHED(loaded))


def watch(
    champion: Champion,
    arrived: pd.DataFrame,
    data: str,
    most_drift: float,
    most_worse: float,
    retrain: Callable[[Path, str], Path] | None = None,
) -> Watched:
    """Compare what has arrived with the champion's test split, and log it as a run of the champion's experiment.

    Args:
        champion: whom it is about.
        arrived: rows of the champion's kind.
        data: where they come from.
        most_drift: how far apart distributions may be, 0 to 1.
        most_worse: by how much the share of wrong labels may grow.
        retrain: writes, for a champion that is degraded, the preset of its retraining with its data into a folder,
            whose address among the run's artifacts it is told; returns the preset's path.

    Raises:
        ConfigError: if there are too few rows, or nothing to compare them with.
        TrackingError: if the store cannot be read or written.
    """
    if len(arrived) < FEWEST:
        raise ConfigError(f"{data}: {len(arrived)} rows can be used, and fewer than {FEWEST} tell nothing")
    how = champion.watched
    tested, known = _tested(champion)
    samples = _sample(tested, how.classes), _sample(arrived, how.classes)
    found = drifts(*samples, known, most_drift, most_worse, how.measures)
    alarms = [each for each in found if each.alarm]
    sentence = _sentence(champion, len(arrived), len(tested), found)
    tags = {MONITORED_TAG: champion.uri, "gradus.verdict": sentence}
    tracking = TrackingConfig(experiment=champion.run.params["tracking.experiment"], system_metrics=False)
    about: dict[str, Any] = {"monitoring": {"model": champion.uri, "data": data, "rows": len(arrived)}}
    with open_run(tracking, home(), f"monitoring {champion.version.name}", about, tags) as run:
        _log_drifts(run, found, drift_figure(tested, arrived, how.classes, how.axes, _title(champion, alarms)))
        preset = _log_retraining(run, retrain) if alarms and retrain else None
        run_id = run.run_id
    return Watched(
        model=champion.uri,
        run_id=run_id,
        rows=len(arrived),
        labelled="wrong" in arrived,
        drifts=found,
        degraded=bool(alarms),
        sentence=sentence,
        retraining=preset,
    )


def _tested(champion: Champion) -> tuple[pd.DataFrame, set[str]]:
    """Return what the champion said of its test split, and the words that it learnt, as far as its run has kept them.

    Rows that it or a model before it has learnt from are left out, as they are of every figure, unless all are such.

    Raises:
        ConfigError: if it has kept nothing.
    """
    how = champion.watched
    with artifacts_of(champion.run, [how.artifact], home()) as files:
        tested, known = how.tested(files[how.artifact]) if how.artifact in files else (pd.DataFrame(), set())
    if tested.empty:
        raise ConfigError(
            f"run {champion.run.run_id}, which made {champion.uri}, has no {how.artifact} that what arrives could be "
            "compared with: run its pipeline again, and promote that"
        )
    try:
        unseen = rows_of(champion.run, kind_of(champion.run), home()).unseen
    except NotComparable:  # what an old run has left does not tell
        return tested, known
    return tested[unseen] if unseen.any() else tested, known


def _log_drifts(run: Run, found: list[Drift], figure: bytes) -> None:
    values = {f"drift/{each.measure}": each.distance for each in found}
    values |= {f"drift_p_value/{each.measure}": each.p_value for each in found}
    run.metrics(values | {"drift/alarms": float(sum(each.alarm for each in found))}, 0)
    run.log_table(pd.DataFrame([each.model_dump() for each in found]), "drift.json")
    folder = run.outbox.new_folder()
    (folder / "drift.png").write_bytes(figure)
    run.log_file(folder / "drift.png", "plots")


def _log_retraining(run: Run, retrain: Callable[[Path, str], Path]) -> str:
    folder, address = run.outbox.new_folder(), f"runs:/{run.run_id}/{RETRAINING}"
    preset = retrain(folder, address)
    for file in folder.iterdir():
        run.log_file(file, RETRAINING)
    return f"{address}/{preset.name}"


def _sample(rows: pd.DataFrame, classes: list[str]) -> Sample:
    positions = pd.Index(classes).get_indexer(pd.Index(rows["class"])).astype(np.int64)
    wrong = rows["wrong"].to_numpy(np.float64) if "wrong" in rows else None
    return Sample(rows["text"].tolist(), positions, rows["value"].to_numpy(np.float64), wrong)


def _title(champion: Champion, alarms: list[Drift]) -> str:
    return f"{champion.uri}: {', '.join(each.title for each in alarms) or 'nothing'} changed"


def _sentence(champion: Champion, rows: int, tested: int, found: list[Drift]) -> str:
    beside = f"{rows:,} rows beside the {tested:,} test rows of {champion.uri}"
    alarms = [f"{each.title} ({each.distance:.2f}, p {each.p_value:.2g})" for each in found if each.alarm]
    if alarms:
        return f"On {beside}, what has changed is {', '.join(alarms)}."
    return f"On {beside}, nothing has changed by more than chance and the limits."
