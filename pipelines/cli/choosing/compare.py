"""`gradus compare`: two runs side by side."""

from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.console import AsJson, Debug, errors_as_lines, print_result, results, say, set_defaults

if TYPE_CHECKING:
    from rich.table import Table

    from components.evaluation.paired.comparison import MetricPair
    from pipelines.compared import RunComparison

EXAMPLES = """
[bold]Examples[/bold]\n
gradus compare 0a1b2c3d4e5f60718293a4b5c6d7e8f9 9f8e7d6c\n
gradus compare models:/spam-classifier@champion models:/spam-classifier@candidate\n
gradus compare 0a1b2c3d 9f8e7d6c --primary f1\n
gradus compare models:/spam-classifier/3 9f8e7d6c --json > comparison.json
"""

DIGITS = 8
"""Characters of a hash that are shown."""
RUN_HELP = "A run id, 8 or more of its first characters, or a runs:/ or models:/ address."


def compare(
    first: Annotated[str, typer.Argument(metavar="RUN", help=RUN_HELP)],
    second: Annotated[str, typer.Argument(metavar="RUN", help=RUN_HELP)],
    primary: Annotated[
        str | None,
        typer.Option(help="The metric that decides, such as f1 or loss. By default accuracy, or the judge's score."),
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Compare two runs: parameters that differ, and metrics on the test rows that both have.

    Of classifiers, whether one is right more often is McNemar's exact test on the same rows, leaving out what either
    has learned from. Of instruction runs, whether one's responses score higher is a permutation test on the same rows
    and the same judge's scores. One metric decides; the others are corrected together (Holm), so that of equal models
    at most 5 % of comparisons name a winner in any. Intervals are 95 %.

    Exit codes: 0 done, 1 the two cannot be compared.
    """
    with errors_as_lines(debug):
        set_defaults()
        from components.core.home import home
        from pipelines.comparison import compare_runs

        found = compare_runs(first, second, home(), primary)
        print_result(found, as_json, _show)
        for warning in found.warnings:
            say(f"gradus: {warning}", style="yellow")
        if found.refused:
            say(f"gradus: {found.refused}", style="red")
            raise typer.Exit(1)


def _show(found: "RunComparison") -> None:
    from rich.table import Table
    from rich.text import Text

    console = results()
    for title, side in (("first", found.first), ("second", found.second)):
        made = "" if side.address in side.run_id else f", {side.address}"
        cached = f", all steps from run {side.cached_from}" if side.cached_from else ""
        line = f"{title:<6}  {side.run_id}  {side.name}, {side.status.lower()}{made}{cached}"
        console.print(Text(line), soft_wrap=True)
    names = found.first.run_id[:DIGITS], found.second.run_id[:DIGITS]
    digests = {f"data: {split}": [digest and digest[:DIGITS] for digest in each] for split, each in found.data.items()}
    settings = Table("what differs", *names)
    for key, values in {**found.parameters, **digests}.items():
        settings.add_row(Text(key), *(Text("-" if value is None else value, overflow="fold") for value in values))
    console.print(settings if settings.rows else "\nNothing was set differently, and the data is the same.")
    if compared := found.compared:
        console.print(_figures(compared.figures, names))
        console.print(Text("\n".join(compared.counts())), soft_wrap=True)
        console.print(Text(found.sentence))
        return
    recorded = Table("own test set", *names)
    for name in (each for each in found.first.metrics if each in found.second.metrics):
        recorded.add_row(name, f"{found.first.metrics[name]:.4f}", f"{found.second.metrics[name]:.4f}")
    if recorded.rows and not found.refused:
        console.print(recorded)


def _figures(figures: "list[MetricPair]", names: tuple[str, str]) -> "Table":
    from rich.table import Table

    from components.evaluation.metrics import METRICS

    table = Table("test set", *names, "difference", "95 % interval", "better")
    for column in table.columns[1:5]:
        column.justify, column.no_wrap = "right", True
    table.columns[0].min_width = max(len(figure.title) for figure in figures)
    for figure in figures:
        digits = METRICS[figure.name].digits
        inner = min(digits, 3)
        sides = ((figure.first, figure.first_interval), (figure.second, figure.second_interval))
        values = (f"{value:.{digits}f} ({low:.{inner}f}-{high:.{inner}f})" for value, (low, high) in sides)
        ends = " to ".join(f"{end:+.{digits}f}" for end in figure.difference_interval)
        better = {"first": names[0], "second": names[1], None: ""}[figure.better]
        table.add_row(figure.title, *values, f"{figure.difference:+.{digits}f}", ends, better)
    return table
