"""Which earlier model a run goes on from, and which one that went on from, back to the first; and what they learned."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from components.core.errors import TrackingError
from components.learned import LEARNED, NONE, Ancestry, Hashes, read_learned
from components.models.pretrained.files import TRACKED
from components.tracking.names import CACHED_FROM
from components.tracking.reading import fetch
from components.tracking.registry.finding import Origin, find_origin, unless_absent
from components.tracking.runs import Run
from components.tracking.stores import open_client, tracking_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient

PARENT_MODEL = "gradus.parent_model"
"""Tag of a run and of its model: the model whose weights it started from, by a name that stays."""
PARENT_RUN = "gradus.parent_run"
"""Tag of a run and of its model: the run that made that model."""
SHOWN = 4
"""Ancestors that a sentence names, besides the first of all."""


@dataclass(frozen=True)
class Ancestor:
    """A model that a later one went on from."""

    model: str
    """`models:/NAME/VERSION` or `models:/m-...`."""
    run_id: str | None = None
    """The run that made it, if that is known."""
    run_name: str | None = None
    """The name of that run; None if it is gone."""
    weights: str | None = None
    """What that run itself started from, as its config has it."""
    pipeline: str = ""
    """Which flow that run was; empty of old runs, which do not say it."""

    @property
    def title(self) -> str:
        """What to call the model in a sentence."""
        name = f"{self.run_name} " if self.run_name else ""
        return f"model {self.model} of run {name}{self.run_id}" if self.run_id else f"model {self.model}"


def log_lineage(run: Run, weights: str, home: Path) -> Ancestor | None:
    """Record on a run which earlier model its weights come from, if they come from one.

    The run's page shows that model among its inputs; the tags `gradus.parent_model` and `gradus.parent_run` name it
    and the run that made it. What the registry publishes of the run gets the same tags.

    Args:
        run: the open run.
        weights: `model.weights` of its config: an address (`runs:/...`, `models:/...`), or anything else, which is
            no earlier model.
        home: the folder of the local store that addresses are looked up in.

    Raises:
        TrackingError: if there is no such model, or the store cannot be written.
    """
    if not weights.startswith(TRACKED):
        return None
    try:
        client = open_client(home)
    except TrackingError as error:
        raise TrackingError(f"model.weights is a model in MLflow, without which nothing can begin: {error}") from error
    with tracking_errors(f"cannot look up the model {weights}"):
        origin = find_origin(client, weights)
        run.lineage = _chain(client, _tags(origin))
    if origin.model_id:
        run.record("inputs", datasets=[], models=[origin.model_id])
    run.set_tags(_tags(origin))
    return run.lineage[0]


def _tags(origin: Origin) -> dict[str, str]:
    return {PARENT_MODEL: origin.model, **({PARENT_RUN: origin.run_id} if origin.run_id else {})}


def parent_tags(run: Run) -> dict[str, str]:
    """Return the tags by which a model says what it goes on from: those that `log_lineage` gave its run."""
    return {name: run.tags[name] for name in (PARENT_MODEL, PARENT_RUN) if name in run.tags}


def ancestors(run: Run) -> list[Ancestor]:
    """Return the models that a run's goes back to, the nearest first; empty if it did not start from one.

    Raises:
        TrackingError: if the store cannot be read, and was not when the run began.
    """
    if run.lineage:
        return run.lineage
    if not parent_tags(run):
        return []
    with tracking_errors(f"cannot read the lineage of MLflow run {run.run_id}"):
        return _chain(run.client, parent_tags(run))


def ancestors_of(run_id: str, home: Path) -> list[Ancestor]:
    """Return the models that a recorded run's goes back to, the nearest first.

    Raises:
        TrackingError: if the store cannot be read.
    """
    client = open_client(home)
    with tracking_errors(f"cannot read the lineage of MLflow run {run_id}"):
        found = client.get_run(run_id).data
        return _chain(client, found.tags, found.params.get("model.weights"))


def model_and_ancestors(model: str, home: Path) -> list[Ancestor]:
    """Return the model that an address names, and those that it goes back to.

    Raises:
        TrackingError: if there is no such model, or the store cannot be read.
    """
    client = open_client(home)
    with tracking_errors(f"cannot look up the model {model}"):
        return _chain(client, _tags(find_origin(client, model)))


def learned_by(chain: Sequence[Ancestor], from_predictions: Callable[[Path], Hashes], home: Path) -> Ancestry:
    """Return which rows models were trained on, as the artifacts of their runs tell.

    Args:
        chain: the models.
        from_predictions: reads the rows out of `predictions.parquet`, which is all that older runs have left.
        home: the folder of the local store.

    Raises:
        TrackingError: if the store cannot be read.
    """
    client = open_client(home)
    rows: list[Hashes] = [NONE]
    pipelines: dict[str, str | None] = {}
    for ancestor in chain:
        with tracking_errors(f"cannot read what {ancestor.model} was trained on"):
            own = _learned(client, ancestor, from_predictions)
        pipelines[ancestor.model] = None if own is None else ancestor.pipeline
        rows.append(NONE if own is None else own)
    return Ancestry(np.unique(np.concatenate(rows)), pipelines)


def _learned(client: "MlflowClient", ancestor: Ancestor, from_predictions: Callable[[Path], Hashes]) -> Hashes | None:
    """Return the rows that one model was trained on, or None where its run is gone or says nothing of it."""
    run_id = ancestor.run_id if ancestor.run_name else None
    while run_id:
        with tempfile.TemporaryDirectory(prefix="gradus-") as folder:
            for name, read in ((LEARNED, read_learned), ("predictions.parquet", from_predictions)):
                if path := fetch(client, run_id, name, folder):
                    return read(path)
        run_id = client.get_run(run_id).data.tags.get(CACHED_FROM)
    return None


def _chain(client: "MlflowClient", tags: Mapping[str, str], weights: str | None = None) -> list[Ancestor]:
    """Return the ancestors that a run's tags lead to, the nearest first; one that is gone ends the chain.

    Older runs have no tags of their lineage: what they started from is said by `weights`, from their config.
    """
    found: list[Ancestor] = []
    while (model := tags.get(PARENT_MODEL, weights or "")).startswith(TRACKED):
        run_id = tags.get(PARENT_RUN)
        made_by = unless_absent(partial(client.get_run, run_id)) if run_id else None
        tags, weights, ancestor = {}, None, Ancestor(model, run_id)
        if made_by:
            tags, weights = made_by.data.tags, made_by.data.params.get("model.weights")
            pipeline = made_by.data.params.get("pipeline", "")
            ancestor = Ancestor(model, run_id, made_by.info.run_name, weights, pipeline)
        if ancestor in found:  # tags can be edited, and then go round in a circle
            break
        found.append(ancestor)
    return found


def lineage_sentence(chain: Sequence[Ancestor]) -> str:
    """Say in a sentence what a model goes on from, back to the first; nothing if it goes on from none."""
    if not chain:
        return ""
    named = [ancestor.title for ancestor in chain]
    if (between := len(chain) - 1 - SHOWN) > 0:
        named[SHOWN:] = [f"{between:,} more, back to {named[-1]}"]
    started = f", which started from {chain[-1].weights}" if chain[-1].weights else ""
    return f"Continues {', which continued '.join(named)}{started}."
