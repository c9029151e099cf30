"""How `gradus compare` shows what it found out."""

from rich.table import Table
from rich.text import Text

from components.evaluation.metrics import METRICS
from pipelines.cli.console import results
from pipelines.compared import Figure, RunComparison, RunSide

DIGITS = 8
"""Characters of a hash that are shown."""


def show(found: RunComparison) -> None:
    """Print a comparison to standard output."""
    console = results()
    for name, side in (("first", found.first), ("second", found.second)):
        console.print(Text(f"{name:<6}  {_described(side)}"), soft_wrap=True)
    console.print(_settings(found) or "\nNothing was set differently, and the data is the same.")
    if compared := found.compared:
        console.print(_figures(found, compared.figures))
        console.print(Text("\n".join(compared.counts())), soft_wrap=True)
        console.print(Text(found.sentence))
    elif not found.refused and (recorded := _recorded(found)):
        console.print(recorded)


def _described(side: RunSide) -> str:
    made = "" if side.address in side.run_id else f", {side.address}"
    cached = f", all steps from run {side.cached_from}" if side.cached_from else ""
    return f"{side.run_id}  {side.name}, {side.status.lower()}{made}{cached}"


def _names(found: RunComparison) -> tuple[str, str]:
    return found.first.run_id[:DIGITS], found.second.run_id[:DIGITS]


def _settings(found: RunComparison) -> Table | None:
    rows = {**found.parameters}
    for split, digests in found.data.items():
        rows[f"data: {split}"] = tuple(digest and digest[:DIGITS] for digest in digests)  # type: ignore[assignment]
    if not rows:
        return None
    table = Table("what differs", *_names(found))
    for key, values in rows.items():
        table.add_row(Text(key), *(Text("-" if value is None else value, overflow="fold") for value in values))
    return table


def _figures(found: RunComparison, figures: list[Figure]) -> Table:
    table = Table("test set", *_names(found), "difference", "95 % interval", "better")
    for column in table.columns[1:5]:
        column.justify, column.no_wrap = "right", True
    table.columns[0].min_width = max(len(figure.title) for figure in figures)
    names = dict(zip(("first", "second"), _names(found), strict=True))
    for figure in figures:
        low, high = figure.difference_interval
        digits = METRICS[figure.name].digits
        table.add_row(
            figure.title,
            _with_interval(figure.first, figure.first_interval, digits),
            _with_interval(figure.second, figure.second_interval, digits),
            f"{figure.difference:+.{digits}f}",
            f"{low:+.{digits}f} to {high:+.{digits}f}",
            names[figure.better] if figure.better else "",
        )
    return table


def _with_interval(value: float, interval: tuple[float, float], digits: int) -> str:
    inner = min(digits, 3)
    return f"{value:.{digits}f} ({interval[0]:.{inner}f}-{interval[1]:.{inner}f})"


def _recorded(found: RunComparison) -> Table | None:
    """Return the figures that each run recorded of its own test set."""
    names = [name for name in found.first.metrics if name in found.second.metrics]
    if not names:
        return None
    table = Table("own test set", *_names(found))
    for name in names:
        table.add_row(name, f"{found.first.metrics[name]:.4f}", f"{found.second.metrics[name]:.4f}")
    return table
