"""The command `gradus`, and what it does with two runs, in this process."""

from pathlib import Path
from subprocess import CompletedProcess

from typer.testing import CliRunner

from pipelines.cli.main import app
from pipelines.compared import RunComparison
from pipelines.comparison import compare_all


def gradus(*arguments: str | Path, stdin: str | None = None, **environment: str) -> CompletedProcess[str]:
    """Run a command as if it had been typed at a terminal of 160 columns; return what it printed and its exit code."""
    words = [str(argument) for argument in arguments]
    done = CliRunner().invoke(app, words, input=stdin, env={"COLUMNS": "160", **environment})
    return CompletedProcess(words, done.exit_code, done.stdout, done.stderr)


def compare_runs(first: str, second: str, home: Path, primary: str | None = None) -> RunComparison:
    """Return what `gradus compare FIRST SECOND` finds out."""
    return compare_all([first, second], home, primary).comparisons[0]
