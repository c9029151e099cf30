"""What the checks of all flows have in common."""

from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel, Field

from components.core.errors import WeightsError
from components.training.planning.estimate import Memory, Part, Plan
from components.training.planning.timing import Timing

Got = TypeVar("Got")

TRACKING = 300_000_000
"""Bytes by which MLflow, plots and baselines make the process of a run larger than that of a check, as measured."""


class Cost(BaseModel):
    """What a run would take."""

    device: str
    precision: str
    parameters: list[Part]
    plan: Plan
    memory: Memory
    timing: Timing | None = Field(description="None where the run would not fit into memory.")


class Found(BaseModel):
    """What every check finds out. `missing` says what could not be had, and how to get it."""

    preset: str
    missing: list[str] = []


def or_missing(get: Callable[[], Got], found: Found) -> Got | None:
    """Return what `get` gets, or note why it cannot be had, or used, and go on without."""
    try:
        return get()
    except WeightsError as error:
        if str(error) not in found.missing:
            found.missing.append(str(error))
        return None
