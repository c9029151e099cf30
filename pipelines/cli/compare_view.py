"""How `gradus compare` shows what it found out."""

from rich.table import Table
from rich.text import Text

from components.evaluation.metrics import METRICS
from components.evaluation.paired.comparison import MetricPair
from pipelines.cli.console import results
from pipelines.compared import RunComparison

DIGITS = 8
"""Characters of a hash that are shown."""


def show(found: RunComparison) -> None:
    """Print a comparison to standard output."""
    console = results()
    for title, side in (("first", found.first), ("second", found.second)):
        made = "" if side.address in side.run_id else f", {side.address}"
        cached = f", all steps from run {side.cached_from}" if side.cached_from else ""
        line = f"{title:<6}  {side.run_id}  {side.name}, {side.status.lower()}{made}{cached}"
        console.print(Text(line), soft_wrap=True)
    names = found.first.run_id[:DIGITS], found.second.run_id[:DIGITS]
    digests = {split: tuple(digest and digest[:DIGITS] for digest in each) for split, each in found.data.items()}
    settings = Table("what differs", *names)
    for key, values in {**found.parameters, **{f"data: {split}": each for split, each in digests.items()}}.items():
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


def _figures(figures: list[MetricPair], names: tuple[str, str]) -> Table:
    table = Table("test set", *names, "difference", "95 % interval", "better")
    for column in table.columns[1:5]:
        column.justify, column.no_wrap = "right", True
    table.columns[0].min_width = max(len(figure.title) for figure in figures)
    for figure in figures:
        digits = METRICS[figure.name].digits
        inner = min(digits, 3)
        values = (
            f"{value:.{digits}f} ({low:.{inner}f}-{high:.{inner}f})"
            for value, (low, high) in (
                (figure.first, figure.first_interval),
                (figure.second, figure.second_interval),
            )
        )
        ends = " to ".join(f"{end:+.{digits}f}" for end in figure.difference_interval)
        better = {"first": names[0], "second": names[1], None: ""}[figure.better]
        table.add_row(figure.title, *values, f"{figure.difference:+.{digits}f}", ends, better)
    return table
