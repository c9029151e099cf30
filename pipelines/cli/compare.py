"""`gradus compare`: two runs beside each other."""

from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.console import Debug, errors_as_lines, set_defaults

if TYPE_CHECKING:
    from pipelines.comparison import RunComparison

EXAMPLES = """
[bold]Examples[/bold]\n
gradus compare 0a1b2c3d 9f8e7d6c\n
gradus compare models:/spam-classifier@champion models:/spam-classifier@candidate --json\n
"""
Address = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's id or its first 8 characters, or models:/NAME@ALIAS.")
]


def compare(
    first: Address,
    second: Address,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    debug: Debug = False,
) -> None:
    """Compare two runs: what was set differently, and which model is better on the same test rows.

    Differences come with 95 % intervals (paired bootstrap), and McNemar's exact test says whether one model is right
    more often than chance explains.
    """
    with errors_as_lines(debug):
        set_defaults()
        from components.home import home
        from pipelines.comparison import compare_runs

        found = compare_runs(first, second, home())
        if as_json:
            typer.echo(found.model_dump_json())
        else:
            _show(found)


def _show(found: "RunComparison") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    names = found.first[:8], found.second[:8]
    console = Console(highlight=False)
    parameters = Table("parameter", *names, title="What was set differently", title_justify="left")
    for each in found.parameters:
        values = ("-" if value is None else value for value in (each.first, each.second))
        parameters.add_row(each.key, *(Text(value) for value in values))
    metrics = Table("test set", *names, "difference", "95 % interval", title_justify="left")
    metrics.title = f"On {found.rows:,} common test rows" + ("" if found.same_test_split else ", of different splits")
    for row in found.differences:
        interval = f"{row.low:+.4f} to {row.high:+.4f}"
        metrics.add_row(
            row.metric.replace("_", " "),
            f"{row.first:.4f}",
            f"{row.second:.4f}",
            f"{row.second - row.first:+.4f}",
            interval,
        )
    if found.parameters:
        console.print(parameters)
    else:
        console.print("Nothing was set differently.")
    console.print(metrics)
    console.print(
        f"right alone: {names[0]} on {found.only_first_right:,} rows, {names[1]} on {found.only_second_right:,}"
    )
    console.print(found.sentence)
