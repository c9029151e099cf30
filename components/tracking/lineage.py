"""Which earlier model a run goes on from, and which one that went on from, back to the first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from components.errors import TrackingError
from components.tracking.registry import find_origin, unless_absent
from components.tracking.runs import Run
from components.tracking.stores import open_client, tracking_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient

TRACKED = ("runs:/", "models:/")
"""How the address of an earlier run's model begins."""
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
        found = _ancestor(client, origin.model, origin.run_id)[0]
    if origin.model_id:
        run.record("inputs", datasets=[], models=[origin.model_id])
    run.set_tags({PARENT_MODEL: origin.model, **({PARENT_RUN: origin.run_id} if origin.run_id else {})})
    run.lineage = ancestors(run)
    return found


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
    found: list[Ancestor] = []
    tags: Mapping[str, str] = parent_tags(run)
    if not tags:
        return found
    with tracking_errors(f"cannot read the lineage of MLflow run {run.run_id}"):
        while PARENT_MODEL in tags:
            ancestor, tags = _ancestor(run.client, tags[PARENT_MODEL], tags.get(PARENT_RUN))
            if ancestor in found:  # tags can be edited, and then go round in a circle
                break
            found.append(ancestor)
    return found


def _ancestor(client: "MlflowClient", model: str, run_id: str | None) -> tuple[Ancestor, Mapping[str, str]]:
    """Return a model with what is known of its run, and that run's tags."""
    made_by = unless_absent(lambda: client.get_run(run_id)) if run_id else None
    if made_by is None:
        return Ancestor(model, run_id), {}
    weights = made_by.data.params.get("model.weights")
    return Ancestor(model, run_id, made_by.info.run_name, weights), made_by.data.tags


def lineage_sentence(chain: Sequence[Ancestor]) -> str:
    """Say in a sentence what a model goes on from, back to the first; nothing if it goes on from none."""
    if not chain:
        return ""
    between = len(chain) - 1 - SHOWN
    named = [*chain[:SHOWN], chain[-1]] if between > 0 else chain
    words = [ancestor.title for ancestor in named]
    if between > 0:
        words[-1] = f"{between:,} more, back to {words[-1]}"
    first = chain[-1].weights
    return f"Continues {', which continued '.join(words)}" + (f", which started from {first}." if first else ".")
