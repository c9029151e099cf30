"""What a sweep would run, and about how long that takes: what `gradus check` finds out of each row."""

from pydantic import BaseModel

from components.core.errors import GradusError
from components.core.progress import progress_bar
from pipelines.check import check
from pipelines.sweeping.rows import Row
from pipelines.sweeping.sweep import Prepared

AROUND = 20.0
"""Seconds that a run takes beside its steps, and for the baselines: about, on a laptop."""


class RowForecast(BaseModel):
    """What a row would take."""

    name: str
    overrides: list[str]
    """What `gradus run PRESET --set` would be told."""
    runs: int
    """One a seed; 0 if the row is skipped."""
    seconds: float | None = None
    """Of all its runs, if nothing of them is in the store; None if it is not known."""
    trained_parameters: int | None = None
    memory_gb: float | None = None
    skipped: str = ""


class Forecast(BaseModel):
    """What a sweep would run."""

    name: str
    preset: str
    rows: list[RowForecast]
    trials: int | None = None
    """Rows that Optuna would propose; nothing is known of them."""

    @property
    def seconds(self) -> float:
        """Seconds of all runs of which that is known, one after the other."""
        return sum(row.seconds or 0.0 for row in self.rows)


def forecast(prepared: Prepared) -> Forecast:
    """Return what a sweep would run and take; data and weights are fetched and checked for it, nothing is trained."""
    sweep = prepared.plan.sweep
    with progress_bar("check", len(prepared.rows), "rows") as update:
        rows = []
        for row in prepared.rows:
            rows.append(_forecast(row, sweep.seeds))
            update(advance=1)
    return Forecast(name=prepared.plan.name, preset=sweep.preset, rows=rows, trials=sweep.trials)


def _forecast(row: Row, seeds: int) -> RowForecast:
    if row.skipped:
        return RowForecast(name=row.name, overrides=row.overrides(), runs=0, skipped=row.skipped)
    found = RowForecast(name=row.name, overrides=row.overrides(), runs=seeds)
    try:
        cost = check(row.config(), further=False).cost
    except GradusError as error:  # the run would say it too, and the others go on
        found.skipped = f"would fail: {error}"
        return found
    if cost:
        found.trained_parameters = sum(part.trained for part in cost.parameters)
        found.memory_gb = cost.memory.total / 1e9
        if cost.timing:
            found.seconds = seeds * (cost.timing.total + AROUND)
    return found
