"""How `gradus compare` shows what it found out."""

from rich.table import Table
from rich.text import Text

from pipelines.cli.console import results
from pipelines.compared import Answered, Figure, RunComparison, RunSide, Tested

DIGITS = 8
"""Characters of a hash that are shown."""
OF_A_HUNDRED = ("score", "chrf")
"""Figures from 0 to 100; of the others a point is a hundredth."""


def show(found: RunComparison) -> None:
    """Print a comparison to standard output."""
    console = results()
    for name, side in (("first", found.first), ("second", found.second)):
        console.print(Text(f"{name:<6}  {_described(side)}"), soft_wrap=True)
    console.print(_settings(found) or "\nNothing was set differently, and the data is the same.")
    if found.test:
        console.print(_figures(found, found.test.figures))
        console.print(_counts(found.test), soft_wrap=True)
        console.print(Text(found.sentence))
    elif found.responses:
        console.print(_figures(found, found.responses.figures))
        console.print(Text(_counts_of_answers(found.responses)), soft_wrap=True)
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
    table = _table("what differs", *_names(found))
    for key, values in rows.items():
        table.add_row(Text(key), *(Text("-" if value is None else value, overflow="fold") for value in values))
    return table


def _figures(found: RunComparison, figures: list[Figure]) -> Table:
    table = _table("test set", *_names(found), "difference", "95 % interval", "better")
    for column in table.columns[1:5]:
        column.justify, column.no_wrap = "right", True
    table.columns[0].min_width = max(len(figure.title) for figure in figures)
    names = dict(zip(("first", "second"), _names(found), strict=True))
    for figure in figures:
        low, high = figure.difference_interval
        digits = 1 if figure.name in OF_A_HUNDRED else 4
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


def _counts(test: Tested) -> str:
    """Say on which rows the comparison stands, and what it could have shown."""
    lines = []
    if not test.same_test_set:
        first, second = test.test_rows
        lines.append(
            f"The test sets differ: of {first:,} and {second:,} rows {test.rows + test.left_out:,} are in both."
        )
    lines += _left_out(test)
    if not test.training_data_known:
        lines.append("What one of the two was trained on is not known: some of these rows may be among it.")
    lines.append(
        f"Right alone: the first on {test.only_first_right:,} rows, the second on {test.only_second_right:,}. "
        f"The smallest significant difference here: {100 * test.smallest_difference:.1f} points of accuracy."
    )
    return "\n".join(lines)


def _counts_of_answers(found: Answered) -> str:
    """Say on which rows the comparison stands, and by whose scores."""
    lines = [f"Scores are by {found.judge}."]
    if not found.same_test_set:
        first, second = found.test_rows
        both = found.rows + found.left_out
        lines.append(f"The test sets differ: of {first:,} and {second:,} rows {both:,} are in both.")
    lines += _left_out(found)
    lines.append(
        f"The reference word for word from one of the two only: from the first on {found.only_first_exact:,} rows, "
        f"from the second on {found.only_second_exact:,}."
    )
    return "\n".join(lines)


def _left_out(found: Tested | Answered) -> list[str]:
    """Say how many rows were left out, and for whom."""
    if not found.left_out:
        return []
    before = found.left_out_for_ancestors
    of_them = f", {before:,} of them in that of a model that one of the two continues" if before else ""
    return [f"Left out: {found.left_out:,} rows that stand in the training data of one of the two{of_them}."]


def _recorded(found: RunComparison) -> Table | None:
    """Return the figures that each run recorded of its own test set."""
    names = [name for name in found.first.metrics if name in found.second.metrics]
    if not names:
        return None
    table = _table("own test set", *_names(found))
    for name in names:
        table.add_row(name, f"{found.first.metrics[name]:.4f}", f"{found.second.metrics[name]:.4f}")
    return table


def _table(*columns: str) -> Table:
    return Table(*columns)
