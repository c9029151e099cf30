"""What all commands share: options, one line an error, exit codes, and a quiet Prefect."""

import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from components.core.errors import DataRejected, GradusError, NoRoom, OutOfMemory, TrackingError, causes, shortened
from components.core.home import home
from components.core.redaction import protect_logs, redact
from components.core.room import describe_full, describe_out_of_memory, is_full, is_out_of_memory

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import Console

INTERRUPTED = 130
MOST_LINES = 50
"""Lines of an error; a preset may have a mistake in every key, rejected data a row in each."""

PIPED = 140
"""Columns of a table that goes to a file or another program."""

Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the preset; may be repeated.")
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", metavar="N", min=1, help="For a trial: only N rows of each file, spread evenly over it."),
]
FileKeys = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="source.KEY=VALUE", help="How the file is read: format, columns, delimiter, encoding, ..."
    ),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Write the rows with the answers: .csv, .tsv, .json, .jsonl or .parquet."),
]
RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="A run id, 8 or more of its first characters, or a models:/ address.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object to standard output.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks and everything that Prefect logs.")]


def limited(overrides: list[str] | None, limit: int | None) -> list[str]:
    """Return the overrides with that of `--limit`."""
    return [*(overrides or []), *([f"source.limit={limit}"] if limit else [])]


def say(message: str, style: str = "") -> None:
    """Print a line to standard error, which leaves standard output to results."""
    from rich.console import Console

    Console(stderr=True, highlight=False, soft_wrap=True).print(redact(message), style=style, markup=False)


def warn(warnings: Iterable[str]) -> None:
    """Print lines that a result comes with."""
    for warning in warnings:
        say(f"gradus: {warning}", style="yellow")


def results() -> "Console":
    """Return standard output for tables: as wide as the terminal, or wide enough where it is none."""
    from rich.console import Console

    has_width = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(highlight=False, width=None if has_width else PIPED)


@contextmanager
def errors_as_lines(debug: bool) -> Iterator[None]:
    """Turn errors into a line on standard error and the exit code they stand for; `debug` adds the traceback.

    Prefect and MLflow, if the command comes to load them, are told what to do by default.
    """
    protect_logs()
    set_defaults()
    try:
        yield
    except (typer.Exit, typer.Abort, SystemExit):
        raise
    except BrokenPipeError:  # whoever reads standard output has seen enough, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(1) from None
    except BaseException as error:  # noqa: BLE001 - the one place where every error becomes a line
        if debug:
            say(traceback.format_exc().rstrip())
        message, code = _describe(error)
        say(message, style="red")
        raise typer.Exit(code) from None


def _describe(error: BaseException) -> tuple[str, int]:
    evidence = noted(error, "evidence")
    kept = f"\n{_about(evidence, error)}: {evidence}" if evidence else ""
    if isinstance(error, GradusError):
        lines = str(error).split("\n")
        if len(lines) > MOST_LINES:
            lines = [*lines[: MOST_LINES - 2], f"... and {len(lines) - MOST_LINES + 1:,} more lines", lines[-1]]
        return "gradus: " + "\n".join(map(shortened, lines)) + kept, error.exit_code
    if isinstance(error, Exception) and is_full(error):
        return f"gradus: {describe_full(error, home())}{kept}", NoRoom.exit_code
    if isinstance(error, Exception) and is_out_of_memory(error):
        what = describe_out_of_memory(error)
        return f"gradus: {what}: end other programs, or give it less at once{kept}", OutOfMemory.exit_code
    if isinstance(error, Exception):
        from components.tracking.stores import damage_of_local

        if damage := damage_of_local(home(), error):
            return f"gradus: {damage}{kept}", TrackingError.exit_code
        text = shortened(" ".join(str(error).split())) or "no message"
        return f"gradus: {type(error).__name__}: {text} (--debug shows where){kept}", 1
    # KeyboardInterrupt, or Prefect's TerminationSignal where the process was told to stop.
    message = "gradus: interrupted; finished steps are kept, the next run goes on after them"
    if evidence:
        model = evidence / "model"
        kept = f"the model so far: {model}" if model.exists() else f"what was done so far: {evidence}"
        message = f"gradus: interrupted; the next run goes on from here\n{kept}"
    return message, INTERRUPTED


def _about(evidence: Path, error: BaseException) -> str:
    if isinstance(error, DataRejected):
        return "all of them, and the report"
    rows = (evidence / "batch.parquet").exists()
    return "the rows that it came from" if rows else "what was done so far, from which the next run goes on"


def noted(error: BaseException | None, name: str) -> Any:
    """Return what was noted as the attribute `name` on an error or on one that it came from, or None."""
    return next((found for each in causes(error) if (found := getattr(each, name, None))), None)


def print_result(found: "BaseModel", as_json: bool, show: Callable[[Any], None]) -> None:
    """Print what a command found to standard output: as one JSON object, or as `show` does."""
    if as_json:
        typer.echo(found.model_dump_json())
    else:
        show(found)


def stop_cleanly() -> None:
    """Let a command that is told to stop end as after Ctrl-C; also where its terminal is closed, but for `nohup`."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as `nohup` leaves it
        signal.signal(signal.SIGHUP, signal.default_int_handler)


def quieten() -> None:
    """Let Prefect and MLflow say only what our own code logs. Call it before either is imported."""
    # Read by Prefect when it sets up logging: its console handler becomes ours.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_CLASS", "pipelines.cli.console.StepHandler")
    # What its threads say of a server that is lost, event by event; a line of ours says it once.
    os.environ.setdefault("PREFECT_LOGGING_INTERNAL_LEVEL", "CRITICAL")
    logging.raiseExceptions = False
    set_defaults()


def set_defaults() -> None:
    """Set what Prefect and MLflow should do unless the user has decided: send nothing to their makers, be patient."""
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # On a busy machine the temporary server takes longer to start than the 20 s that Prefect gives it. One that cannot
    # start ends, and is not waited for.
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "600")
    # Half a minute for a server that restarts or is busy, in all; Prefect's own is one minute, and five for one that
    # takes connections and says nothing.
    os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", "4")
    os.environ.setdefault("PREFECT_API_REQUEST_TIMEOUT", "30")


class StepHandler(logging.StreamHandler[TextIO]):
    """Shows what steps and flows say of themselves, not what Prefect says of them."""

    def __init__(self, **_options: object) -> None:
        super().__init__()

    def emit(self, record: logging.LogRecord) -> None:
        """Print what flows and steps log, and our own warnings; of anybody else's only what is critical."""
        import prefect

        by_prefect = Path(record.pathname).is_relative_to(Path(prefect.__file__).parent)
        from_flow = record.name.startswith("prefect.") and not by_prefect
        if from_flow or record.name.startswith(("components.", "pipelines.")):
            say(f"  {record.getMessage()}")
        elif record.levelno >= logging.CRITICAL:
            print(record.getMessage(), file=sys.stderr)  # noqa: T201
