"""A sweep from its rows to its table, under one parent run in MLflow; repeated, it runs what is missing."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pydantic import JsonValue

from components.core.durable import locked
from components.core.errors import ConfigError, TrackingError
from components.core.home import home
from components.core.progress import progress_bar
from components.core.records import fingerprint
from components.tracking.config import TrackingConfig
from components.tracking.reading import RecordedRun
from components.tracking.run import Run
from components.tracking.runs import open_run
from components.tracking.sweeps import SWEEP_TAG, find_sweep, runs_under
from pipelines.config import PipelineConfig, load_config, override
from pipelines.kinds import deciding, part_of
from pipelines.sweeping import pages
from pipelines.sweeping.answers import answers
from pipelines.sweeping.config import SweepConfig, Values
from pipelines.sweeping.figures import more_is_better
from pipelines.sweeping.outcome import RowResult, SweepResult, by_identity, rank, row_result, verdict_of
from pipelines.sweeping.rows import Child, Row, children_of, identity_of, rows_of, with_reasons
from pipelines.sweeping.runners import Runner
from pipelines.sweeping.running import Running
from pipelines.sweeping.search import Search
from pipelines.sweeping.searching import Trials
from pipelines.sweeping.sources import Sources

VALIDATION = "validation/"
SWEEPS = "sweeps"
"""Folder under the home for what sweeps keep: logs of their runs, locks, and Optuna's storage."""

LOST = "it ended, but MLflow has no finished run of it: `gradus sync`, then the sweep again"

Tell = Callable[[str], None]
"""Told what happens, in lines."""


@dataclass(frozen=True)
class Plan:
    """A sweep as it is to be run."""

    sweep: SweepConfig
    base: str | None = None
    """The name of its base, if one was asked for."""

    @property
    def identity(self) -> str:
        """What the sweep is known again by: not its rows, values or seeds, so that more of them can be added.

        Optuna's studies know no other values of a key, no other scale of a range and no other direction later: where
        there are trials, these are part of it.
        """
        sweep = self.sweep
        varied: list[Any] = [sorted(sweep.grid), sorted(sweep.ranges)]
        if sweep.trials:
            scales = sorted((key, each.scale) for key, each in sweep.ranges.items())
            varied = [sorted(sweep.grid.items()), scales, sweep.metric]
        return fingerprint([sweep.name, sweep.preset, sweep.set, varied, self.base])[:32]

    @property
    def name(self) -> str:
        """What its parent run is called: with its base, if one was asked for."""
        return f"{self.sweep.name}, {self.base}" if self.base else self.sweep.name

    def prepare(self, here: bool) -> "Prepared":
        """Return the plan with its rows, those that cannot be run on this machine, if they are to be run `here`, named.

        Raises:
            ConfigError: if the keys of the preset or of a row are wrong.
        """
        config = load_config(self.sweep.preset, [override(key, value) for key, value in self.sweep.set.items()])
        rows = [] if self.sweep.trials else with_reasons(rows_of(self.sweep, self.base), here)
        return Prepared(self, config, self._metric(config.pipeline), rows)

    def _metric(self, kind: str) -> str:
        """Return what rows are ranked by: a figure of validation.

        Raises:
            ConfigError: if neither the sweep nor the kind says it.
        """
        metric: str | None = self.sweep.metric or part_of(kind, "compare").KIND.selects
        if metric is None:
            raise ConfigError(f"{self.sweep.name}: set metric to a figure of validation, as in metric: validation/loss")
        return metric


@dataclass(frozen=True)
class Prepared:
    """A sweep that can be run."""

    plan: Plan
    config: PipelineConfig
    """What is varied."""
    metric: str
    """What rows are ranked by."""
    rows: list[Row]


class Sweep:
    """A sweep under way: what has been run of it, and what is still missing."""

    def __init__(self, prepared: Prepared, parent: str) -> None:
        self.plan, self.parent, self.metric = prepared.plan, parent, prepared.metric
        self.experiment = prepared.config.tracking.experiment
        self.decides = deciding(prepared.config.pipeline)
        self.rows: list[Row] = []
        self.children: dict[str, list[Child]] = {}
        """The runs of each row, by its name."""
        self.failed: dict[str, str] = {}
        """Why runs failed, by their identities."""
        self.pruned: set[str] = set()
        """The rows that were stopped early."""
        self.sources = Sources([])
        for row in prepared.rows:
            self.add(row)

    def add(self, row: Row) -> list[Child]:
        """Add a row, and return its runs: none if it is skipped, or its keys do not fit each other."""
        try:
            seeds = self.plan.sweep.seeds
            children = [] if row.skipped else children_of(row, seeds, self.parent, self.experiment)
        except ConfigError as error:
            row, children = replace(row, skipped=str(error)), []
        if row.name not in self.children:
            self.rows.append(row)
        self.children[row.name] = children
        return children

    def run(self, running: Running, tell: Tell) -> None:
        """Run what has not finished."""
        # Two rows may be the same, and are run once.
        every = {child.identity: child for children in self.children.values() for child in children}
        before = self.finished().keys() & every.keys()
        if before and running.runner.here:
            self.sources = Sources(every[identity] for identity in before)
        done = self.finished()
        if changed := len(before - done.keys()):
            tell(f"{changed} of {len(every)} runs are made again: their data has changed")
        missing = [child for identity, child in every.items() if identity not in done]
        if len(missing) < len(every):
            tell(f"{len(every) - len(missing)} of {len(every)} runs have finished before")
        with progress_bar("sweep", len(every), "runs", done=len(every) - len(missing)) as update:

            def ended(number: int, why: str) -> None:
                if why:
                    self.failed[missing[number].identity] = why
                update(advance=1)
                tell(f"{missing[number].title}: {f'failed: {why}' if why else 'done'}")

            running.all([partial(running.one, child) for child in missing], ended)

    def search(self, running: Running, tell: Tell) -> None:
        """Run the trials that are missing of a search."""
        folder = home() / SWEEPS / self.plan.identity
        search = Search(self.plan.sweep, self.parent, folder, more_is_better(self.metric))
        Trials(self, search, running, tell).run()
        for row, pruned in search.rows():
            self.add(row)
            if pruned:
                self.pruned.add(row.name)

    def finished(self) -> dict[str, RecordedRun]:
        """Return the runs under the parent that have finished, with the data of now, by their identities."""
        found = by_identity(runs_under(self.parent, home()), identity_of)
        return {key: run for key, run in found.items() if run.finished and not self.sources.changed(key, run)}

    def score(self, row: Row) -> float | None:
        """Return the validation figure of a row, the mean over the seeds that have finished; None if none has."""
        found = self._row(row, self.finished(), self.metric)
        return found.validation.mean if found.validation else None

    def result(self) -> SweepResult:
        """Return what came of all runs."""
        done = self.finished()
        test_metric = self._test_metric(list(done.values()))
        rows = [self._row(row, done, test_metric) for row in self.rows]
        rank(rows, self.metric)
        return SweepResult(
            name=self.plan.name,
            preset=self.plan.sweep.preset,
            run_id=self.parent,
            metric=self.metric,
            test_metric=test_metric,
            seeds=self.plan.sweep.seeds,
            rows=rows,
            verdict=verdict_of(rows, self.metric) if self._has_figures(done) else self._lacking(done),
            answers=answers(self.plan.sweep.questions, rows, self.metric, test_metric),
            failed=[f"{row.name}, {why}" for row in rows for why in row.failed],
        )

    def _has_figures(self, done: dict[str, RecordedRun]) -> bool:
        return not done or any(self.metric in run.metrics for run in done.values())

    def _lacking(self, done: dict[str, RecordedRun]) -> str:
        """Say that no run has the figure that rows are to be ranked by, and which ones they have."""
        known = sorted({name for run in done.values() for name in run.metrics if name.startswith(VALIDATION)})
        return f"No run has a figure {self.metric}; there are {', '.join(known) or 'none of validation'}."

    def _test_metric(self, runs: Sequence[RecordedRun]) -> str:
        same = self.metric.replace(VALIDATION, "test/")
        return same if any(same in run.metrics for run in runs) else f"test/{self.decides}"

    def _row(self, row: Row, done: dict[str, RecordedRun], test_metric: str) -> RowResult:
        children = self.children[row.name]
        runs = [done[child.identity] for child in children if child.identity in done]
        found = row_result(row, runs, self.metric, test_metric)
        found.values = self._varied(row)
        found.pruned = row.name in self.pruned
        if not found.pruned:
            lacking = [child for child in children if child.identity not in done]
            found.failed = [f"seed {child.seed}: {self.failed.get(child.identity, LOST)}" for child in lacking]
        return found

    def _varied(self, row: Row) -> Values:
        """Return what a row has for each key that any row sets: what it sets itself, or what the preset says."""
        if not (children := self.children[row.name]):
            return row.values
        tree = children[0].config.model_dump(mode="json")
        keys = dict.fromkeys(key for each in self.rows for key in each.values)
        return {key: row.values.get(key, _value(tree, key)) for key in keys}


def _value(tree: Any, key: str) -> Any:
    """Return what a config has for a dotted key; None if it has no such key."""
    for part in key.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


@contextmanager
def open_parent(plan: Plan, config: PipelineConfig, tell: Tell) -> Iterator[Run]:
    """Open the parent run of a sweep: that of the last time, or a new one. Nobody else has the same sweep under way.

    Raises:
        TrackingError: if the store cannot be read or written, or is away.
    """
    experiment = config.tracking.experiment
    with locked(home() / SWEEPS / f"{plan.identity}.lock", lambda: tell("another process runs this sweep: waiting")):
        again = find_sweep(experiment, plan.identity, home())
        tracking = TrackingConfig(experiment=experiment, system_metrics=False)
        about: dict[str, JsonValue] = {
            "sweep": {"name": plan.sweep.name, "preset": plan.sweep.preset, "base": plan.base}
        }
        tags = {SWEEP_TAG: plan.identity}
        with open_run(tracking, home(), plan.name, {"sweep": about}, tags, again) as run:
            if run.waits:
                raise TrackingError(f"{run.shown_uri} does not answer: a sweep is kept in MLflow; try again later")
            yield run


def run_sweep(prepared: Prepared, runner: Runner, jobs: int, tell: Tell) -> SweepResult:
    """Run what is missing of a sweep, `jobs` runs at once, and return what came of all of it.

    Raises:
        TrackingError: if the store cannot be read or written.
    """
    with open_parent(prepared.plan, prepared.config, tell) as parent:
        sweep = Sweep(prepared, parent.run_id)
        running = Running(runner, jobs)
        if prepared.plan.sweep.trials:
            sweep.search(running, tell)
        else:
            sweep.run(running, tell)
        result = sweep.result()
        pages.log(parent, result)
    return result
