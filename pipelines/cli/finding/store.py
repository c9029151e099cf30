"""`gradus store` and `gradus gc`: what takes how much room, and the removal of what nothing refers to."""

from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.console import AsJson, Debug, errors_as_lines, print_result, results, say

if TYPE_CHECKING:
    from pipelines.cleaning import Cleaned, Usage

GC_EXAMPLES = """
[bold]Examples[/bold]\n
gradus gc\n
gradus gc --delete
"""
WHATS = {
    "step": "results of steps",
    "attempt": "attempts that came to no end",
    "run": "runs deleted in MLflow",
    "sweep": "logs of deleted sweeps",
}
SHOWN = 20
"""Entries that are listed by name; `--json` has all."""


def store(as_json: AsJson = False, debug: Debug = False) -> None:
    """Show what the home holds, and how much room each part takes."""
    with errors_as_lines(debug):
        from pipelines.cleaning import usage

        print_result(usage(), as_json, _show_usage)


def gc(
    delete: Annotated[bool, typer.Option("--delete", help="Remove it; otherwise it is only listed.")] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """List what nothing refers to any more, and remove it with --delete.

    Kept is what a run refers to that was not deleted in MLflow, or whose model is registered, and what a process has in
    use. Runs that were deleted in MLflow go with their files.
    """
    with errors_as_lines(debug):
        from pipelines.cleaning import clean

        print_result(clean(delete), as_json, _show_cleaned)


def _show_usage(found: "Usage") -> None:
    from rich.table import Table

    from pipelines.shown import size

    table = Table("part", "entries", "size", "what it holds", box=None, pad_edge=False)
    for part in found.parts:
        table.add_row(part.name, f"{part.entries:,}", size(part.bytes), part.holds)
    results().print(table)
    say(f"{size(found.bytes)} in {found.home}; gradus gc lists what nothing refers to")


def _show_cleaned(found: "Cleaned") -> None:
    from rich.table import Table

    from pipelines.shown import size

    table = Table("what", "name", "size", "", box=None, pad_edge=False)
    for each in sorted(found.garbage, key=lambda each: -each.bytes)[:SHOWN]:
        became = "" if not found.deleted else "removed" if each.removed else "in use: kept"
        table.add_row(WHATS[each.what], each.name, size(each.bytes), became)
    results().print(table)
    if (hidden := len(found.garbage) - SHOWN) > 0:
        say(f"and {hidden:,} smaller ones; --json lists all")
    if found.on_server:
        say(found.on_server)
    if not found.garbage:
        say("gradus: something refers to everything; nothing to remove")
    elif found.deleted:
        say(f"gradus: {size(found.bytes)} freed in {found.home}")
    else:
        say(f"gradus: {size(found.bytes)} in {found.home} can be freed; gradus gc --delete removes it")
