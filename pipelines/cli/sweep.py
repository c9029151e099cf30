"""`gradus sweep`: one preset in many variations, each with several seeds."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli import console

if TYPE_CHECKING:
    from pipelines.sweeping.forecast import Forecast
    from pipelines.sweeping.outcome import SweepResult
    from pipelines.sweeping.runners import Runner
    from pipelines.sweeping.sweep import Plan, Prepared

EXAMPLES = """
[bold]Examples[/bold]\n
gradus sweep spam-demo --grid train.trainable=last_layer,last_block,all --seeds 3\n
gradus sweep spam-demo --optuna 20 --range train.learning_rate=1e-5..1e-2:log --range train.batch_size=4..32:int\n
gradus sweep spam-experiments --dry-run\n
gradus sweep seven-questions --markdown seven_questions.md\n
gradus sweep my-sweep.yaml --jobs 2 --json > sweep.json
"""


def sweep(
    preset: Annotated[
        str, typer.Argument(metavar="PRESET_OR_YAML", help="A preset of a sweep or of a run, or the file of one.")
    ],
    grid: Annotated[
        list[str] | None, typer.Option("--grid", metavar="KEY=VALUE,VALUE", help="Values that a key takes in turn.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Runs of each row, each with another seed.")] = None,
    optuna: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Let Optuna propose N rows from --range and --grid.")
    ] = None,
    ranges: Annotated[
        list[str] | None,
        typer.Option("--range", metavar="KEY=LOW..HIGH[:log|:int]", help="A range in which Optuna looks for a value."),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(metavar="validation/NAME", help="The figure of validation that rows are ranked by.")
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Other weights for all rows, if the sweep has such."),
    ] = None,
    overrides: console.Overrides = None,
    limit: console.Limit = None,
    deployment: Annotated[
        str | None,
        typer.Option(metavar="FLOW/NAME", help="Have the workers of a Prefect deployment run it (deploy/README.md)."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at once.")] = 1,
    markdown: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the table and the answers to a file in Markdown.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the rows and what they would take; train nothing.")
    ] = False,
    as_json: console.AsJson = False,
    debug: console.Debug = False,
) -> None:
    """Run a preset in many variations and seeds, and tell which differences are more than noise.

    All runs stand under one parent run in MLflow. One that fails does not stop the others; the same command again runs
    only what is missing. Rows are ranked by validation; test figures are shown, and nothing is chosen by them.

    Exit codes: 0 done, 1 a run failed, 2 bad usage or config, 130 interrupted.
    """
    with console.errors_as_lines(debug):
        if not debug:
            console.quieten()
        from components.reporting.pages import check_place, write_page
        from pipelines.sweeping.config import load_sweep, parse_grid, parse_set
        from pipelines.sweeping.sweep import Plan

        if markdown:
            check_place("--markdown", markdown)
        changes: dict[str, Any] = {
            "grid": dict(map(parse_grid, grid or [])),
            "ranges": {key: text for key, _, text in (each.partition("=") for each in ranges or [])},
            "set": dict(map(parse_set, console.limited(overrides, limit))),
        }
        changes |= {"seeds": seeds, "trials": optuna, "metric": metric}
        plan = Plan(load_sweep(preset, changes), base)
        prepared = plan.prepare(here=deployment is None)
        if dry_run:
            from pipelines.sweeping.forecast import forecast

            console.print_result(forecast(prepared), as_json, _show_forecast)
            return
        result = _run(prepared, jobs, deployment)
        console.print_result(result, as_json, _show)
        for line in result.failed:
            console.say(f"gradus: failed: {line}", style="red")
        if markdown:
            from pipelines.sweeping.pages import markdown as written

            write_page("--markdown", markdown, written(result))
        if result.failed:
            raise typer.Exit(1)


def _run(prepared: "Prepared", jobs: int, deployment: str | None) -> "SweepResult":
    from pipelines.sweeping.sweep import run_sweep

    console.stop_cleanly()
    if deployment:
        from pipelines.sweeping.deployment import Deployment

        return run_sweep(prepared, Deployment(deployment), jobs, _tell)
    return run_sweep(prepared, _processes(prepared.plan, jobs), jobs, _tell)


def _tell(line: str) -> None:
    console.say(f"  {line}")


def _processes(plan: "Plan", jobs: int) -> "Runner":
    """Return what runs the runs as processes: with one Prefect server for all of them."""
    from components.core.home import home
    from pipelines.cli.prefect_server.temporary import temporary_server
    from pipelines.sweeping.runners import Processes
    from pipelines.sweeping.sweep import SWEEPS

    if server := temporary_server():
        server.wait()
    from prefect.settings import get_current_settings

    prefect = get_current_settings().to_environment_variables(exclude_unset=True, include_secrets=True)
    threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // jobs))} if jobs > 1 else {}
    environment = {**threads, **os.environ, **prefect}
    return Processes(environment, home() / SWEEPS / plan.identity)


def _show(found: "SweepResult") -> None:
    from rich.table import Table

    from pipelines.sweeping.table import columns, lines

    out = console.results()
    table = Table(*columns(found))
    for line in lines(found):
        table.add_row(*line)
    out.print(table)
    for sentence in found.sentences():
        out.print(sentence, markup=False)
    out.print(f"run    {found.run_id}", highlight=False)


def _show_forecast(found: "Forecast") -> None:
    from rich.table import Table

    from pipelines.shown import duration

    table = Table("row", "runs", "trained", "GB", "time", "")
    for row in found.rows:
        table.add_row(
            row.name,
            str(row.runs),
            f"{row.trained_parameters:,}" if row.trained_parameters is not None else "–",
            f"{row.memory_gb:.1f}" if row.memory_gb is not None else "–",
            duration(row.seconds) if row.seconds is not None else "–",
            f"skipped: {row.skipped}" if row.skipped and not row.runs else row.skipped,
        )
    out = console.results()
    out.print(table)
    out.print(f"{sum(row.runs for row in found.rows)} runs, about {duration(found.seconds)} one after the other")
    if found.trials:
        out.print(f"Optuna would propose {found.trials} rows; each takes about as long as the preset")
