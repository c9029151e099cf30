"""The entry point of `gradus`."""

import atexit
import gc
import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from pipelines.cli import check, data, deploy, presets, run, sweep, sync
from pipelines.cli.choosing import compare, judge, promote, rate, rollback
from pipelines.cli.finding import doctor, explain, models, runs, store
from pipelines.cli.using import export, generate, predict, push, respond, serve, ui

app = typer.Typer(
    name="gradus",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with [bold]gradus run spam-demo[/bold] or [bold]gradus run instruct-demo[/bold]: "
    "minutes, no network, nothing to set up.",
)
TRAIN, CHOOSE, USE, DEPLOY, FIND = "Train", "Choose", "Use", "Deploy", "Find"
"""Panels of `gradus --help`."""
COMMANDS: tuple[tuple[str, str, Callable[..., None], str], ...] = (
    (TRAIN, "check", check.check, check.EXAMPLES),
    (TRAIN, "run", run.run, run.EXAMPLES),
    (TRAIN, "sweep", sweep.sweep, sweep.EXAMPLES),
    (TRAIN, "presets", presets.presets, ""),
    (TRAIN, "show", presets.show, presets.EXAMPLES),
    (TRAIN, "explain", explain.explain, explain.EXAMPLES),
    (TRAIN, "schema", explain.schema, explain.SCHEMA_EXAMPLES),
    (CHOOSE, "compare", compare.compare, compare.EXAMPLES),
    (CHOOSE, "judge", judge.judge, judge.EXAMPLES),
    (CHOOSE, "rate", rate.rate, rate.EXAMPLES),
    (CHOOSE, "promote", promote.promote, promote.EXAMPLES),
    (CHOOSE, "rollback", rollback.rollback, rollback.ROLLBACK_EXAMPLES),
    (CHOOSE, "history", rollback.history, rollback.HISTORY_EXAMPLES),
    (USE, "predict", predict.predict, predict.EXAMPLES),
    (USE, "respond", respond.respond, respond.EXAMPLES),
    (USE, "generate", generate.generate, generate.EXAMPLES),
    (USE, "serve", serve.serve, serve.EXAMPLES),
    (USE, "ui", ui.ui, ui.EXAMPLES),
    (USE, "export", export.export, export.EXAMPLES),
    (USE, "push", push.push, push.EXAMPLES),
    (DEPLOY, "deploy", deploy.deploy, deploy.EXAMPLES),
    (FIND, "runs", runs.runs, runs.EXAMPLES),
    (FIND, "models", models.models, models.EXAMPLES),
    (FIND, "sync", sync.sync, sync.EXAMPLES),
    (FIND, "store", store.store, ""),
    (FIND, "gc", store.gc, store.GC_EXAMPLES),
    (FIND, "doctor", doctor.doctor, ""),
)
for panel, name, command, examples in COMMANDS:
    app.command(name, epilog=examples or None, rich_help_panel=panel)(command)
app.add_typer(data.app, name="data", rich_help_panel=TRAIN)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"gradus {version('gradus')}")
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Fine-tune language models as a pipeline you can schedule, trust and compare."""


def main() -> None:
    """Run the command line."""
    # Large libraries make objects by the million, few of them in cycles. Looking for these as often as Python does by
    # default takes a fifth of the time that a run takes beside its steps.
    gc.set_threshold(50_000)
    code = 1

    def leave() -> None:
        """Leave without taking every object apart, which takes up to 2 seconds: nobody needs them any more."""
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    atexit.register(leave)  # first, so that it runs last
    try:
        app()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if "pipelines.prefect_runs" in sys.modules:
            from pipelines.prefect_runs import send_the_rest

            send_the_rest()
            # All that is left to do, `leave` at last: not by way of the end of threads, where Prefect would wait on.
            atexit._run_exitfuncs()
        raise
