"""The entry point of `gradus`."""

import atexit
import gc
import os
import sys
from typing import Annotated

import typer

from pipelines.cli import check, presets, run, sync
from pipelines.cli.choosing import compare, judge, promote, rate
from pipelines.cli.finding import doctor, explain, models, runs
from pipelines.cli.using import generate, predict, respond

app = typer.Typer(
    name="gradus",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with [bold]gradus run spam-demo[/bold] or [bold]gradus run instruct-demo[/bold]: "
    "minutes, no network, nothing to set up.",
)
app.command("check", epilog=check.EXAMPLES)(check.check)
app.command("run", epilog=run.EXAMPLES)(run.run)
app.command("sync", epilog=sync.EXAMPLES)(sync.sync)
app.command("presets")(presets.presets)
app.command("show", epilog=presets.EXAMPLES)(presets.show)
app.command("predict", epilog=predict.EXAMPLES)(predict.predict)
app.command("compare", epilog=compare.EXAMPLES)(compare.compare)
app.command("promote", epilog=promote.EXAMPLES)(promote.promote)
app.command("respond", epilog=respond.EXAMPLES)(respond.respond)
app.command("judge", epilog=judge.EXAMPLES)(judge.judge)
app.command("rate", epilog=rate.EXAMPLES)(rate.rate)
app.command("generate", epilog=generate.EXAMPLES)(generate.generate)
app.command("runs", epilog=runs.EXAMPLES)(runs.runs)
app.command("models", epilog=models.EXAMPLES)(models.models)
app.command("explain", epilog=explain.EXAMPLES)(explain.explain)
app.command("schema", epilog=explain.SCHEMA_EXAMPLES)(explain.schema)
app.command("doctor")(doctor.doctor)


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
