"""How a comparison is printed: two runs in full, more of them in one table and then each beside the baseline."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from components.evaluation.metrics import METRICS
from components.evaluation.paired.p_values import shown
from components.reporting.comparison import shown_kappa

if TYPE_CHECKING:
    from components.evaluation.paired.comparison import MetricPair
    from components.evaluation.paired.groups import GroupDifference
    from components.evaluation.ratings import PeopleAgreement
    from pipelines.compared import Comparisons, Details, RunComparison

DIGITS = 8
"""Characters of a hash that are shown."""
EXAMPLES = 6
"""Rows on which two disagree that are printed; the page and the artifacts have more."""
CELL = 100
"""Characters of a text in a table."""


def show(found: "Comparisons", console: Console) -> None:
    """Print a comparison."""
    several = len(found.runs) > 2
    titles = ["baseline", *[""] * (len(found.runs) - 1)] if several else ["first", "second"]
    width = max(map(len, titles))
    for title, side in zip(titles, found.runs, strict=True):
        made = "" if side.address in side.run_id else f", {side.address}"
        cached = f", all steps from run {side.cached_from}" if side.cached_from else ""
        line = f"{title:<{width}}  {side.run_id}  {side.name}, {side.status.lower()}{made}{cached}"
        console.print(Text(line), soft_wrap=True)
    console.print(_settings(found) or "\nNothing was set differently, and the data is the same.")
    if several:
        console.print(_summary(found))
    for each in found.comparisons:
        if several:
            console.print(Text(f"\n{each.second.run_id[:DIGITS]} beside {each.first.run_id[:DIGITS]}", style="bold"))
        _show_two(each, console)


def _settings(found: "Comparisons") -> Table | None:
    digests = {f"data: {split}": [digest and digest[:DIGITS] for digest in row] for split, row in found.data.items()}
    settings = Table("what differs", *found.names)
    for key, values in {**found.parameters, **digests}.items():
        settings.add_row(Text(key), *(Text("-" if value is None else value, overflow="fold") for value in values))
    return settings if settings.rows else None


def _summary(found: "Comparisons") -> Table:
    """Return a line a run: the metric that decides, beside the baseline's, with the corrected p value."""
    table = Table("run", "metric", "baseline", "value", "difference", "95 % interval", "p (Holm)", "better")
    for each in found.comparisons:
        figures = each.compared.figures if each.compared else []
        deciding = next((pair for pair in figures if each.compared and pair.name == each.compared.primary), None)
        cells = ["-"] * 6 if deciding is None else _beside(each, deciding)
        table.add_row(each.second.run_id[:DIGITS], deciding.title if deciding else "not compared", *cells)
    return table


def _beside(each: "RunComparison", figure: "MetricPair") -> list[str]:
    digits = METRICS[figure.name].digits
    p_value = figure.p_value if each.adjusted_p_value is None else each.adjusted_p_value
    ends = " to ".join(f"{end:+.{digits}f}" for end in figure.difference_interval)
    better = {"first": each.first.run_id[:DIGITS], "second": each.second.run_id[:DIGITS], None: ""}[figure.better]
    values = (f"{figure.first:.{digits}f}", f"{figure.second:.{digits}f}", f"{figure.difference:+.{digits}f}")
    return [*values, ends, shown(p_value).removeprefix("= "), better]


def _show_two(found: "RunComparison", console: Console) -> None:
    names = found.first.run_id[:DIGITS], found.second.run_id[:DIGITS]
    if compared := found.compared:
        console.print(_figures(compared.figures, names))
        console.print(Text("\n".join(compared.counts())), soft_wrap=True)
        console.print(Text(found.sentence))
        _show_details(found, names, console)
        return
    recorded = Table("own test set", *names)
    for name in (each for each in found.first.metrics if each in found.second.metrics):
        recorded.add_row(name, f"{found.first.metrics[name]:.4f}", f"{found.second.metrics[name]:.4f}")
    if recorded.rows and not found.refused:
        console.print(recorded)


def _show_details(found: "RunComparison", names: tuple[str, str], console: Console) -> None:
    if found.people:
        console.print(Text(said_of_people(found.people)))
    if details := found.details:
        for title, groups in ((details.group, details.by_group), ("characters", details.by_length)):
            if groups:
                console.print(_groups(f"{details.metric} by {title}", groups, names))
        if details.disagreements:
            console.print(_examples(details, names))


def said_of_people(found: "PeopleAgreement") -> str:
    """Say how far a judge, and length alone, prefer the responses that people do."""
    return (
        f"People prefer the response that the judge prefers on {found.judge.agreed:.1%} of {found.rows:,} rated rows "
        f"(Cohen's kappa {shown_kappa(found.judge)}); always preferring the longer one agrees on "
        f"{found.longer.agreed:.1%} (kappa {shown_kappa(found.longer)})."
    )


def _figures(figures: "Sequence[MetricPair]", names: tuple[str, str]) -> Table:
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


def _groups(title: str, groups: "Sequence[GroupDifference]", names: tuple[str, str]) -> Table:
    table = Table(title, "rows", *names, "difference", "95 % interval")
    for column in table.columns[1:]:
        column.justify = "right"
    for each in groups:
        ends = " to ".join(f"{end:+.3f}" for end in each.interval)
        values = (f"{each.first:.3f}", f"{each.second:.3f}", f"{each.difference:+.3f}")
        table.add_row(Text(each.name[:CELL]), f"{each.rows:,}", *values, ends)
    return table


def _examples(details: "Details", names: tuple[str, str]) -> Table:
    """Return some of the rows on which two disagree: those where the second is ahead, and as many others."""
    table = Table(f"{details.disagreements:,} rows on which they disagree, such as", "expected", *names)
    ahead = [each for each in details.examples if (each.second_value or 0) > (each.first_value or 0)]
    others = [each for each in details.examples if each not in ahead]
    for each in [*ahead[: EXAMPLES // 2], *others[: EXAMPLES // 2]]:
        cells = (each.text, each.expected, each.first, each.second)
        table.add_row(*(Text(" ".join(cell.split())[:CELL]) for cell in cells))
    return table
