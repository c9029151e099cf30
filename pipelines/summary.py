"""What every flow says at its end."""

from typing import Self

from pydantic import BaseModel, Field

from components.core.records import Facts, Manifest
from components.core.steps import run_logger
from components.tracking.runs import Run


class RunSummary(BaseModel):
    """What a flow run hands back, and what `gradus run --json` prints."""

    run_id: str
    status: str
    metrics: dict[str, float] = {}
    model_uri: str | None = None
    cached_steps: list[str] = []
    waits_for_sync: bool = False
    """Whether MLflow was away, and `gradus sync` has to send what the run has kept; `run_id` is its own name then."""
    evaluation: Facts = Field(default={}, exclude=True)
    """All that the step `evaluate` found, to be shown."""

    @classmethod
    def of(cls, run: Run, steps: dict[str, Manifest]) -> Self:
        """Return the summary of a run that has come to its end."""
        return cls(
            run_id=run.run_id,
            waits_for_sync=run.waits,
            status="FINISHED",
            metrics=steps["evaluate"].facts["metrics"],
            evaluation=steps["evaluate"].facts,
            model_uri=run.model_uri,
            cached_steps=[name for name, manifest in steps.items() if manifest.cached],
        )


def say_warnings(manifest: Manifest) -> None:
    """Say what a step warns of."""
    for warning in manifest.facts["warnings"]:
        run_logger().warning(f"{manifest.step}: {warning}")


def say_what_was_cached(run: Run, steps: dict[str, Manifest], cached_from: str | None) -> None:
    """Note on the run which steps were taken from the store, and which run it repeats if all were."""
    cached = [name for name, manifest in steps.items() if manifest.cached]
    if cached:
        run.set_tags({"gradus.cached_steps": ", ".join(cached)})
    if len(cached) == len(steps) and cached_from:
        run_logger().info(f"nothing has changed since run {cached_from}: every step was taken from the store")
