"""`gradus data labels` and `gradus data mend`: labels that are probably wrong, and the data with mended ones."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.console import (
    AsJson,
    Debug,
    RunArgument,
    errors_as_lines,
    print_result,
    results,
    say,
    stop_cleanly,
)
from pipelines.cli.data.options import NewFolder

if TYPE_CHECKING:
    from pipelines.labels import FoundLabels, MendedData

EXAMPLES = """
[bold]Examples[/bold]\n
gradus data labels models:/spam-demo@candidate --output wrong.csv\n
gradus data labels 0a1b2c3d -o wrong.csv --json
"""
MEND_EXAMPLES = """
[bold]Examples[/bold]\n
gradus data mend 0a1b2c3d wrong.csv --output mended\n
gradus data mend models:/spam-demo@candidate wrong.csv --suggested -o mended\n
gradus run mended/preset.yaml
"""


def labels(
    run: RunArgument,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="A new CSV file.")],
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Find rows of a run's data whose label is probably wrong, and write them as a CSV file to mend.

    Each row's label is held against what words and characters say of it in a cross-validation that has not seen the
    row, nor a near duplicate of it (confident learning). The file has the number of the row in the source, the text,
    the label to mend, the suggested one with its probability, and what the run's own model says of a row that it was
    not trained on. Minutes for some thousand rows. Exit codes: 0 done, 1 failed, 2 bad usage.
    """
    with errors_as_lines(debug):
        stop_cleanly()
        from components.core.home import home
        from pipelines.labels import find_labels

        print_result(found := find_labels(run, output, home()), as_json, _show)
        _note(found.note)


def mend(
    run: RunArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `gradus data labels` wrote, with labels changed.")],
    output: NewFolder,
    suggested: Annotated[
        bool, typer.Option("--suggested", help="Take the suggested label of each row in the file.")
    ] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write a run's data with mended labels, and its preset for that.

    In the file, the column `label` is what counts: change it, or empty it for a row that is to go; rows that are taken
    out of the file stay as they are in the data. Exit codes: 0 done, 1 failed, 2 bad usage.
    """
    with errors_as_lines(debug):
        stop_cleanly()
        from components.core.home import home
        from pipelines.labels import mend as mend_data

        print_result(found := mend_data(run, file, suggested, output, home()), as_json, _show_mended)
        _note(found.note)


def _show(found: "FoundLabels") -> None:
    console = results()
    console.print(f"{found.found:,} of {found.rows:,} labels are probably wrong: {found.file}", soft_wrap=True)
    if found.found:
        console.print(f"next: look at them, mend the column label, then gradus data mend RUN {found.file} -o FOLDER")


def _show_mended(found: "MendedData") -> None:
    console = results()
    console.print(f"{found.changed:,} labels changed, {found.left_out:,} rows left out, {found.rows:,} rows written")
    console.print(f"preset  {found.preset}", markup=False, soft_wrap=True)


def _note(why_not: str) -> None:
    if why_not:
        say(f"gradus: only rows that the run has kept were looked at: {why_not}", style="yellow")
