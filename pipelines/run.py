"""What every flow does beside its steps: open the MLflow run, report what fails, log, register and sum up."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec

from prefect.runtime import flow_run
from pydantic import BaseModel, Field

from components.core.errors import DataRejected, TrainingError
from components.core.home import home
from components.core.process_memory import peak_memory
from components.core.records import Facts, Manifest
from components.core.sharing.remote import stored_at
from components.core.steps import Step, called, run_logger
from components.tasks import log_results, register, report_failed_training, report_validation
from components.tasks.results import Results
from components.tracking.names import FLOW_RUN_TAG, PRESET_TAG, SET_TAG, SOURCE_TAG, STEPS_TAG
from components.tracking.registry.lineage import log_lineage
from components.tracking.runs import Run, open_run
from components.tracking.sweeps import PARENT_TAG
from pipelines.config import PipelineConfig
from pipelines.kinds import names_of
from pipelines.refusals import refuse_early
from pipelines.service.events import tell_of_candidate
from pipelines.service.structured_logs import logs_of_run
from pipelines.service.turns import say_if_slot_was_lost

P = ParamSpec("P")


class RunSummary(BaseModel):
    """What a flow run hands back, and what `gradus run --json` prints."""

    run_id: str
    status: str
    metrics: dict[str, float] = {}
    model_uri: str | None = None
    cached_steps: list[str] = []
    waits_for_sync: bool = False
    """Whether MLflow was away, and `gradus sync` has to send what the run has kept; `run_id` is its own name then."""
    spent: dict[str, Any] = {}
    """Requests and tokens that steps took of servers, by step (their fact `usage`); not of those that were cached."""
    figures: list[dict[str, Any]] = Field(default=[], exclude=True)
    """The figures of the test set, to be shown: a row a metric, each with the same columns."""


class FlowRun:
    """A flow run under way: its MLflow run, and the manifests of its steps by their names."""

    def __init__(self, config: PipelineConfig, run: Run) -> None:
        self.config, self.run = config, run
        self.steps: dict[str, Manifest] = {}
        self.figures: list[dict[str, Any]] = []

    @property
    def id(self) -> str:
        """The id of the MLflow run."""
        return self.run.run_id

    @property
    def names(self) -> tuple[str, ...]:
        """What runs of this kind say they are of."""
        return names_of(self.config.pipeline)

    def step(self, step: Step[P], *args: P.args, **kwargs: P.kwargs) -> Manifest:
        """Run a step, and leave what it found where people look, all the more if it refused data or failed to train."""
        try:
            manifest = step(*args, **kwargs)
        except (DataRejected, TrainingError) as error:
            if error.evidence:
                report = report_validation if isinstance(error, DataRejected) else report_failed_training
                report(self.id, error.evidence)
            raise
        except TimeoutError as error:
            say_if_slot_was_lost(error)
            raise
        self.steps[step.name] = manifest
        if step.name == "download":
            # Not of its table, which another pyarrow writes otherwise.
            self.run.set_tags({SOURCE_TAG: manifest.digest_of("raw")})
        if step.name == "validate":
            report_validation(self.id, manifest.folder)
        if step.name == "split":
            self._warn(manifest.facts, "split: ")
        return manifest

    def finish(self, results: Results) -> None:
        """Say what the step `evaluate` found, log what all steps left, register the model, and note what was cached."""
        found = self.steps["evaluate"].facts
        self.figures = results.rows(found)
        run_logger().info(found["verdict"])
        self._warn(found)
        log_results(self.id, self.steps, results)
        self._log_cost(self.steps["fine_tune"])
        model = self._register(results)
        if self.cached:
            self.run.set_tags({"gradus.cached_steps": ", ".join(self.cached)})
        if len(self.cached) == len(self.steps) and (before := model.get("cached_from")):
            run_logger().info(f"nothing has changed since run {before}: every step was taken from the store")

    def _register(self, results: Results) -> dict[str, str | None]:
        """Log and register the model; or leave nothing of it, if that is wanted and it was made for this run."""
        if self.config.tracking.keep_model:
            found = register(self.id, self.steps, results, self.config.tracking.model_name)
            uri, new = self.run.model_uri, not found.get("cached_from")
            if uri and new and (warning := tell_of_candidate(uri, self.id, self.config.pipeline, self.config.name)):
                run_logger().warning(warning)
            return found
        if not (trained := self.steps["fine_tune"]).cached:
            shutil.rmtree(trained.folder, ignore_errors=True)
        return {}

    def _log_cost(self, trained: Manifest) -> None:
        """Log what a training took, also one that was taken from the store; its memory only this process can know."""
        cost = {"cost/training_minutes": trained.seconds / 60}
        if not trained.cached:
            cost["cost/peak_memory_gb"] = peak_memory() / 1e9
        self.run.metrics(cost, trained.facts["steps"])

    @property
    def cached(self) -> list[str]:
        """The steps that were taken from the store."""
        return [name for name, manifest in self.steps.items() if manifest.cached]

    def summary(self) -> RunSummary:
        """Return what came of the run, once it is closed."""
        return RunSummary(
            run_id=self.id,
            status="FINISHED",
            metrics=self.steps["evaluate"].facts["metrics"],
            model_uri=self.run.model_uri,
            cached_steps=self.cached,
            waits_for_sync=self.run.waits,
            spent={
                name: manifest.facts["usage"]
                for name, manifest in self.steps.items()
                if not manifest.cached and "usage" in manifest.facts
            },
            figures=self.figures,
        )

    def _warn(self, facts: Facts, prefix: str = "") -> None:
        for warning in facts.get("warnings", ()):
            run_logger().warning(f"{prefix}{warning}")


@contextmanager
def recorded(config: PipelineConfig) -> Iterator[FlowRun]:
    """Open the MLflow run of a flow run, with the lineage of the model that it continues; it is closed at the end.

    Raises:
        ConfigError, WeightsError: if `refuse_early` does; the run has failed then.
        TrackingError: if the store refuses the run, or has no such model.
    """
    under = {PARENT_TAG: config.tracking.parent} if config.tracking.parent else {}
    changed = {SET_TAG: " ".join(config.overrides)} if config.overrides else {}
    whose = {FLOW_RUN_TAG: found} if (found := flow_run.get_id()) else {}
    tags = {PRESET_TAG: config.name, **changed, **under, **whose}
    opened = open_run(config.tracking, home(), config.run_name, config.recorded(), tags)
    with stored_at(config.store.remote), opened as run, logs_of_run(run.run_id), _steps_noted(run):
        log_lineage(run, config.model.weights, home())
        refuse_early(config)
        yield FlowRun(config, run)


@contextmanager
def _steps_noted(run: Run) -> Iterator[None]:
    """Note on a run what each step takes from the store, or will put there, for `gradus gc`."""
    entries: list[str] = []

    def note(entry: str) -> None:
        if entry not in entries:
            entries.append(entry)
            run.set_tags({STEPS_TAG: " ".join(entries)})

    token = called.set(note)
    try:
        yield
    finally:
        called.reset(token)
