"""The command `gradus` in this process, where what is tested is not the process."""

from pathlib import Path
from subprocess import CompletedProcess

from typer.testing import CliRunner

from pipelines.cli.main import app


def gradus(*arguments: str | Path, stdin: str | None = None, **environment: str) -> CompletedProcess[str]:
    """Run a command as if it had been typed at a terminal of 160 columns; return what it printed and its exit code."""
    words = [str(argument) for argument in arguments]
    done = CliRunner().invoke(app, words, input=stdin, env={"COLUMNS": "160", **environment})
    return CompletedProcess(words, done.exit_code, done.stdout, done.stderr)
