"""`gradus run`: run a preset's flow and say what came of it."""

import gc
import os
from contextlib import AbstractContextManager, nullcontext, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli import console

if TYPE_CHECKING:
    from pipelines.config import PipelineConfig
    from pipelines.run import RunSummary

EXAMPLES = """
[bold]Examples[/bold]\n
gradus run spam-demo\n
gradus run spam --set train.epochs=3 --set train.learning_rate=1e-4\n
gradus run spam-book --set model.weights=random --set train.max_steps=20\n
gradus run instruct --set judge.model=phi3 --set train.trainable=lora\n
gradus run spam --limit 500\n
gradus run my-data.yaml --json > result.json
"""


def run(
    preset: Annotated[
        str,
        typer.Argument(
            metavar="PRESET_OR_YAML", help="A name from `gradus presets`, or a file; `runs:/RUN/config.yaml`: again."
        ),
    ],
    overrides: console.Overrides = None,
    limit: console.Limit = None,
    as_json: console.AsJson = False,
    debug: console.Debug = False,
) -> None:
    """Run a pipeline, from download to registered model.

    Finished steps are kept under GRADUS_HOME (default .gradus) and taken from there while nothing they depend on
    has changed. Exit codes: 0 done, 1 failed, 2 bad usage or config, 3 data rejected, 130 interrupted.
    """
    with console.errors_as_lines(debug):
        from pipelines.config import load_config

        config = load_config(preset, console.limited(overrides, limit))
        console.print_result(_run(config, as_json, debug), as_json, _print_summary)


def _run(config: "PipelineConfig", as_json: bool, debug: bool) -> "RunSummary":
    if not debug:
        console.quieten()
    from components.tracking.stores import without_password

    server = os.environ.get("PREFECT_API_URL")
    place = without_password(server) if server else "a temporary Prefect server (PREFECT_API_URL names one that runs)"
    console.say(f"gradus: running {config.run_name} with {place}")
    # Prefect turns SIGTERM into an exception, and when the flow has ended sends it again to the handler before.
    console.stop_cleanly()
    gc.disable()  # nothing that is imported is garbage
    from pipelines.cli.prefect_server.temporary import temporary_server

    started = temporary_server()
    from pipelines.kinds import flow_of

    flow = flow_of(config.pipeline)
    from pipelines.prefect_runs import run_with_prefect
    from pipelines.run import RunSummary

    if started:
        _use_the_wait()
        started.wait()
    gc.freeze()
    gc.enable()
    try:
        with heartbeats_if_wanted():
            return run_with_prefect(flow, config, config.run_name)
    except BaseException as error:
        if as_json and (run_id := console.noted(error, "run_id")):
            status = "FAILED" if isinstance(error, Exception) else "KILLED"
            typer.echo(RunSummary(run_id=run_id, status=status).model_dump_json())
        raise


def heartbeats_if_wanted() -> AbstractContextManager[Any]:
    """Let Prefect send no heartbeats, unless its settings ask for them: when a flow ends it waits for their thread.

    That is up to a second. Automations that look for heartbeats are made for runs of deployments:
    https://docs.prefect.io/v3/advanced/detect-zombie-flows
    """
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, get_current_settings, temporary_settings

    if "heartbeat_frequency" in get_current_settings().flows.model_fields_set:
        return nullcontext()
    return temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None})


def _use_the_wait() -> None:
    """Do while the server starts what the flow does first, and load what every run draws its figures with."""
    from components.core.errors import TrackingError
    from components.core.home import home
    from components.core.interruptions import interruptions_held_back
    from components.tracking.stores import open_client

    # The flow opens the store as well, and what is wrong with it is said there, in a run that Prefect knows of.
    with interruptions_held_back(), suppress(TrackingError):
        open_client(home())
        import_module("matplotlib.figure")
        import_module("scipy.stats")
        if not (home() / "store").exists():  # all steps will run
            import_module("components.training.loop")


def _print_summary(summary: "RunSummary") -> None:
    from rich.table import Table

    out = console.results()
    if summary.figures:
        table = Table(*("test set" if name == "metric" else name for name in summary.figures[0]))
        for row in summary.figures:
            table.add_row(*map(str, row.values()))
        out.print(table)
    for step, used in summary.spent.items():
        tokens = f"{used['tokens_in']:,} tokens in, {used['tokens_out']:,} tokens out"
        out.print(f"{step:5}  {used['requests']:,} requests, {tokens}")
    waits = " (waits for `gradus sync`)" if summary.waits_for_sync else ""
    out.print(f"run    {summary.run_id}{waits}", highlight=False)
    no_model = "not in MLflow yet" if summary.waits_for_sync else "not kept (tracking.keep_model)"
    out.print(f"model  {summary.model_uri or no_model}", highlight=False)
