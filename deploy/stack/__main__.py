"""`deploy/local`: a whole service on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from components.core.errors import ConfigError
from deploy.stack.control import Part, down, status, up
from deploy.stack.settings import Stack
from pipelines.cli import console

Folder = Annotated[
    Path, typer.Option(envvar="GRADUS_SERVICE_FOLDER", help="Where everything of it lies: data, logs, passwords.")
]
Port = Annotated[int | None, typer.Option(min=1, max=65535, help="Where it listens, on the loopback interface.")]
HERE = Path(".gradus/service")
app = typer.Typer(name="deploy/local", no_args_is_help=True, rich_markup_mode="rich")


@app.callback()
def about() -> None:
    """A whole service on this machine, without containers.

    PostgreSQL, Prefect's server and MLflow's on it, both with a password, and workers; supervisord keeps them up.
    """


@app.command("up", epilog="deploy/local up --workers 1 --folder /srv/gradus --mlflow-port 5050")
def up_command(
    folder: Folder = HERE,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that take runs, one each. [default: 2]")] = None,
    prefect_port: Port = None,
    mlflow_port: Port = None,
    postgres_port: Port = None,
    debug: console.Debug = False,
) -> None:
    """Start what does not run yet, and deploy; may be repeated.

    Passwords are made the first time, or taken from GRADUS_PREFECT_PASSWORD, GRADUS_MLFLOW_PASSWORD and
    GRADUS_DATABASE_PASSWORD, and kept in the folder, where only you can read them. Exit codes: 0 all is up, 1 a part
    did not come up, 2 bad usage.
    """
    with console.errors_as_lines(debug):
        given = {
            "workers": workers,
            "prefect_port": prefect_port,
            "mlflow_port": mlflow_port,
            "database_port": postgres_port,
        }
        changes = {key: value for key, value in given.items() if value is not None}
        stack = Stack.make(folder.absolute(), changes)
        up(stack, console.say)
        _show(stack, status(stack))


@app.command("status")
def status_command(folder: Folder = HERE, debug: console.Debug = False) -> None:
    """Say how each part is. Exit codes: 0 all is well, 1 something is not, 2 there is no service."""
    with console.errors_as_lines(debug):
        stack = _find(folder)
        parts = status(stack)
        _show(stack, parts)
        if not all(part.healthy for part in parts):
            raise typer.Exit(1)


@app.command("env", epilog='eval "$(deploy/local env)"')
def env_command(folder: Folder = HERE, debug: console.Debug = False) -> None:
    """Print what a shell needs to talk to it, passwords among it: addresses and names as `export` lines."""
    import shlex

    with console.errors_as_lines(debug):
        for key, value in _find(folder).client_environment().items():
            typer.echo(f"export {key}={shlex.quote(value)}")


@app.command("down")
def down_command(folder: Folder = HERE, debug: console.Debug = False) -> None:
    """Cancel what runs, and stop everything; its data stays, and `up` goes on with it."""
    with console.errors_as_lines(debug):
        down(_find(folder), console.say)


def _find(folder: Path) -> Stack:
    if stack := Stack.find(folder.absolute()):
        return stack
    raise ConfigError(
        f"there is no service in {folder.absolute()}: `deploy/local up` makes one, --folder names another"
    )


def _show(stack: Stack, parts: list[Part]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("part", "", "")
    for part in parts:
        table.add_row(part.name, Text("up" if part.healthy else "down", "green" if part.healthy else "red"), part.state)
    out = console.results()
    out.print(table)
    for name, what in (("prefect", stack.prefect), ("mlflow", stack.mlflow), ("logs", stack.logs)):
        out.print(f"{name:<8} {what}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    app()
