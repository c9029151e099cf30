"""Whether a classifier in use still does what it did: on what has arrived, beside the test split of its run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel

from components.core.errors import ConfigError
from components.core.home import home
from components.data.asked import TextSource
from components.evaluation.drift import Drift, Sample, drifts, words_of
from components.models.saved.classifier import LoadedClassifier
from components.reporting.drift import drift_figure
from components.serving.load import load_model
from components.tracking.config import TrackingConfig
from components.tracking.reading import RecordedRun, Registered, artifacts_of, find_registered, find_run
from components.tracking.registry.finding import resolve_model
from components.tracking.runs import Run, open_run
from components.tracking.stores import tracking_uri
from pipelines.asking import Asked

MONITORED_TAG = "gradus.monitored"
"""Tag of a run that watched: the version that it looked at."""
FEWEST = 30
"""Rows that have arrived: fewer tell nothing."""
PREDICTIONS = "predictions.parquet"
RETRAINING = "retraining"
"""Folder among the artifacts of a run that watched: the preset that retrains, with old and new data."""


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
    model: LoadedClassifier

    @property
    def uri(self) -> str:
        """Its address, which does not move as an alias does."""
        return f"models:/{self.version.name}/{self.version.number}"

    @classmethod
    def find(cls, model: str) -> "Champion":
        """Return the champion of a registered model, or the version that an address names.

        Raises:
            ConfigError: if it is a language model.
            TrackingError: if there is none, or it cannot be read.
        """
        address = model if model.startswith("models:/") else f"models:/{model}@champion"
        version = find_registered(address, None, home())
        place = resolve_model(f"models:/{version.name}/{version.number}", home())
        loaded = load_model(place, tracking_uri(home()))
        if not isinstance(loaded, LoadedClassifier):
            raise ConfigError(f"{address} is a language model, and only classifiers can be watched")
        return cls(version, find_run(version.run_id, home()), loaded)


def read_unlabelled(champion: Champion, file: Path, learnt: Mapping[str, Any], rows: int) -> pd.DataFrame:
    """Return the texts of a file with their predictions: `text`, `predicted`, `probability`; the first `rows`.

    Args:
        champion: who predicts.
        file: in any format.
        learnt: how the file was read that it learnt from, keys of `source`.
        rows: how many are looked at.

    Raises:
        ConfigError: if the file cannot be read.
    """
    import pyarrow as pa

    asked, found = Asked(TextSource, file, {}, [], None), list[pd.DataFrame]()
    kinds = {"label": pa.string(), "probability": pa.float64()}
    answers = asked.answers(
        learnt,
        lambda some, _first: champion.model.predict(some["text"])[[*kinds]].to_dict("list"),  # type: ignore[arg-type,return-value]
        kinds,
    )
    for read, said in answers:
        found.append(pd.DataFrame({"text": read.texts["text"], **said}).dropna())
        if sum(map(len, found)) >= rows:
            break
    whole = pd.concat(found, ignore_index=True).head(rows) if found else pd.DataFrame(columns=["text", *kinds])
    return whole.rename(columns={"label": "predicted"})


def read_labelled(champion: Champion, table: Path) -> pd.DataFrame:
    """Return a validated table with predictions: `text`, `label`, `predicted`, `probability`."""
    frame = pd.read_parquet(table, columns=["text", "label"])
    said = champion.model.predict(frame["text"].tolist())
    return frame.assign(predicted=said["label"].to_numpy(), probability=said["probability"].to_numpy())


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
        arrived: rows with `text`, `predicted`, `probability`, and `label` if it is known.
        data: where they come from.
        most_drift: how far apart distributions may be, 0 to 1.
        most_worse: by how much the share of wrong labels may grow.
        retrain: writes, for a champion that is degraded, the preset of its retraining with its data into a folder,
            whose address among the run's artifacts it is told; returns the preset's path.

    Raises:
        ConfigError: if there are too few rows, or the champion's run has no predictions.
        TrackingError: if the store cannot be read or written.
    """
    if len(arrived) < FEWEST:
        raise ConfigError(f"{data}: {len(arrived)} rows can be used, and fewer than {FEWEST} tell nothing")
    with artifacts_of(champion.run, [PREDICTIONS], home()) as files:
        if PREDICTIONS not in files:
            raise ConfigError(f"run {champion.run.run_id}, which made {champion.uri}, has no {PREDICTIONS}")
        before = pd.read_parquet(files[PREDICTIONS], columns=["split", "text", "label", "predicted", "probability"])
    tested = before[before["split"] == "test"]
    known = words_of(before.loc[before["split"] == "train", "text"].tolist())
    labels = champion.model.card.labels
    found = drifts(_sample(tested, labels), _sample(arrived, labels), known, most_drift, most_worse)
    alarms = [each for each in found if each.alarm]
    sentence = _sentence(champion, len(arrived), len(tested), found)
    tags = {MONITORED_TAG: champion.uri, "gradus.verdict": sentence}
    tracking = TrackingConfig(experiment=champion.run.params["tracking.experiment"], system_metrics=False)
    about: dict[str, Any] = {"monitoring": {"model": champion.uri, "data": data, "rows": len(arrived)}}
    with open_run(tracking, home(), f"monitoring {champion.version.name}", about, tags) as run:
        values = {f"drift/{each.measure}": each.distance for each in found}
        values |= {f"drift_p_value/{each.measure}": each.p_value for each in found}
        run.metrics(values | {"drift/alarms": float(len(alarms))}, 0)
        run.log_table(pd.DataFrame([each.model_dump() for each in found]), "drift.json")
        folder = run.outbox.new_folder()
        (folder / "drift.png").write_bytes(drift_figure(tested, arrived, labels, _title(champion, alarms)))
        run.log_file(folder / "drift.png", "plots")
        preset = _log_retraining(run, retrain) if alarms and retrain else None
        run_id = run.run_id
    return Watched(
        model=champion.uri,
        run_id=run_id,
        rows=len(arrived),
        labelled="label" in arrived,
        drifts=found,
        degraded=bool(alarms),
        sentence=sentence,
        retraining=preset,
    )


def _log_retraining(run: Run, retrain: Callable[[Path, str], Path]) -> str:
    folder, address = run.outbox.new_folder(), f"runs:/{run.run_id}/{RETRAINING}"
    preset = retrain(folder, address)
    for file in folder.iterdir():
        run.log_file(file, RETRAINING)
    return f"{address}/{preset.name}"


def _sample(rows: pd.DataFrame, labels: list[str]) -> Sample:
    predicted = pd.Index(labels).get_indexer(pd.Index(rows["predicted"])).astype(np.int64)
    wrong = (rows["label"] != rows["predicted"]).to_numpy() if "label" in rows else None
    return Sample(rows["text"].tolist(), predicted, rows["probability"].to_numpy(np.float64), wrong)


def _title(champion: Champion, alarms: list[Drift]) -> str:
    return f"{champion.uri}: {', '.join(each.title for each in alarms) or 'nothing'} changed"


def _sentence(champion: Champion, rows: int, tested: int, found: list[Drift]) -> str:
    beside = f"{rows:,} rows beside the {tested:,} test rows of {champion.uri}"
    alarms = [f"{each.title} ({each.distance:.2f}, p {each.p_value:.2g})" for each in found if each.alarm]
    if alarms:
        return f"On {beside}, what has changed is {', '.join(alarms)}."
    return f"On {beside}, nothing has changed by more than chance and the limits."
