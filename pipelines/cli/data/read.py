"""`gradus data read`: JSON Lines for hosted services, as a table and a preset."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.console import AsJson, Debug, errors_as_lines, print_result, results, say, stop_cleanly
from pipelines.cli.data.options import As, Keys, NewFolder

if TYPE_CHECKING:
    from pipelines.preparing.restore import Restored

EXAMPLES = """
[bold]Examples[/bold]\n
gradus data read messages/chat --as classification --output again\n
gradus data read train.jsonl --as instruction -o entries\n
gradus run entries/preset.yaml
"""


def read(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A file, or a folder with train.jsonl, test.jsonl, ...")],
    form: As,
    output: NewFolder,
    overrides: Keys = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Read chats, or prompts and completions, back into tables with a preset that `gradus run` takes.

    Rows stay as they are, in their order. What stands around prompts and completions (a separator, a blank, a stop
    text) is found and taken off; what guides to hosted fine-tuning would object to is named. Exit codes: 0 done, 1
    failed, 2 bad usage, 3 data rejected.
    """
    with errors_as_lines(debug):
        stop_cleanly()
        from pipelines.preparing.restore import restore

        found = restore(path, form, overrides or [], output)
        print_result(found, as_json, _show)
        for line in found.found:
            say(f"gradus: {line}", style="yellow")


def _show(found: "Restored") -> None:
    console = results()
    for name, rows in found.rows.items():
        console.print(f"{name}  {rows:,} rows", highlight=False)
    for what, end in (("prompt", found.separator), ("completion", found.stop)):
        if end:
            console.print(f"taken off the end of every {what}: {end!r}", markup=False)
    console.print(f"preset  {found.preset}", markup=False, soft_wrap=True)
