"""The flow `sweep`: `gradus sweep` as a deployment."""

import os
from typing import Any

from prefect import State, flow

from components.core.home import home
from components.core.steps import run_logger
from components.tasks.shared import show_table
from pipelines.deployed import in_one_line
from pipelines.prefect_runs import SWEEP, record_process
from pipelines.sweeping.config import load_sweep, parse_set
from pipelines.sweeping.outcome import SweepResult
from pipelines.sweeping.runners import Processes, Runner
from pipelines.sweeping.sweep import SWEEPS, Plan, run_sweep
from pipelines.sweeping.table import columns, lines


@flow(name=SWEEP, flow_run_name="{preset}", persist_result=False, on_running=[record_process])
def sweep(
    preset: str,
    grid: dict[str, list[Any]] = {},  # noqa: B006 - Prefect shows it
    ranges: dict[str, str] = {},  # noqa: B006
    overrides: list[str] = [],  # noqa: B006
    seeds: int | None = None,
    trials: int | None = None,
    metric: str | None = None,
    base: str | None = None,
    jobs: int = 1,
    deployment: str | None = None,
) -> SweepResult | State[Any]:
    """Run a preset in many variations and seeds, and tell which differences are more than noise.

    Args:
        preset: the preset of a sweep or of a run, or the absolute path of a YAML file on the worker's machine.
        grid: values that keys take in turn, such as `{"train.trainable": ["last_layer", "all"]}`.
        ranges: where Optuna looks for values, such as `{"train.learning_rate": "1e-5..1e-2:log"}`.
        overrides: what `--set` takes, for all runs.
        seeds: runs of each row, each with another seed.
        trials: rows that Optuna proposes.
        metric: the figure of validation that rows are ranked by, such as `validation/loss`.
        base: other weights for all rows, if the sweep has such.
        jobs: runs at once.
        deployment: the workers of which `FLOW/NAME` do the runs; by default this one does. It needs another slot of a
            worker than the one that the sweep itself holds.

    Returns:
        The table and what can be told; or, where it failed, a failed state that says why in one line.

    Raises:
        GradusError: from Python, as `gradus sweep` does.
    """

    def work() -> SweepResult:
        changes: dict[str, Any] = {"grid": grid, "ranges": ranges, "set": dict(map(parse_set, overrides))}
        changes |= {"seeds": seeds, "trials": trials, "metric": metric}
        plan = Plan(load_sweep(preset, changes), base)
        prepared = plan.prepare(here=deployment is None)
        return run_sweep(prepared, _runner(plan, deployment), jobs, run_logger().info)

    found = in_one_line(work)
    if not isinstance(found, State):
        rows = [dict(zip(columns(found), line, strict=True)) for line in lines(found)]
        show_table(key="sweep", table=rows, description="\n\n".join(found.sentences()))
        for line in (*found.sentences(), *found.failed):
            run_logger().info(line)
    return found


def _runner(plan: Plan, deployment: str | None) -> Runner:
    if deployment:
        from pipelines.sweeping.deployment import Deployment

        return Deployment(deployment)
    # A process finds the server in the environment, where it must not find which flow run this is.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT__")}
    return Processes(environment, home() / SWEEPS / plan.identity)
