"""`gradus check`: look at a preset, its data and what a run would cost, and train nothing."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.console import Debug, Overrides, errors_as_lines, quieten, results, say

if TYPE_CHECKING:
    from pipelines.shown import Shown

EXAMPLES = """
[bold]Examples[/bold]\n
gradus check spam-demo\n
gradus check spam --set train.trainable=lora --set train.batch_size=64\n
gradus check instruct --set train.batching=packed\n
gradus check my-data.yaml --json > check.json
"""


def check(
    preset: Annotated[str, typer.Argument(metavar="PRESET_OR_YAML", help="A name from `gradus presets`, or a file.")],
    overrides: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object to standard output.")] = False,
    debug: Debug = False,
) -> None:
    """Check a preset and its data before anything is trained.

    Shows how the texts look as tokens, what is cut, what trains, how much memory and time a run would take (both
    estimated); of a classifier, how pretrained weights do without training; of instructions, what is learnt and what is
    masked, and whether the judge can be asked. A run takes the data from here. Exit codes: 0 done, 1 failed or weights
    or vocabulary missing, 2 bad usage or config, 3 data rejected, 130 interrupted.
    """
    with errors_as_lines(debug):
        from pipelines.config import load_config

        config = load_config(preset, overrides or [])
        if not debug:
            quieten()
        say(f"gradus: checking {config.name}; nothing is trained")
        from pipelines import check as checks

        found = checks.check(config)
        if as_json:
            typer.echo(found.model_dump_json())
        else:
            _show(found.shown)
        for line in found.missing:
            say(f"gradus: {line}", style="red")
        if found.missing:
            raise typer.Exit(1)


def _show(items: "Iterable[Shown]") -> None:
    """Print lines and tables, these with an empty line before them if they do not stand below a title."""
    from rich.table import Table

    from pipelines.shown import TITLE

    console, below_title = results(), True
    for item in items:
        is_table = isinstance(item, Table)
        if is_table and not below_title:
            console.print()
        console.print(item, soft_wrap=not is_table)
        below_title = item.style == TITLE
