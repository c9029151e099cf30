"""How commands show what they found on a terminal: lines, tables, and texts that may hold anything."""

import re
from collections.abc import Iterable, Mapping, Sequence

from rich.table import Table
from rich.text import Text

from components.core.records import Facts

Shown = Text | Table

TITLE, WARNING, PROBLEM, ASIDE = "bold", "yellow", "red", "dim"
"""Styles of a line."""
NUMBER = re.compile(r"\(?-?\d")


def line(text: str, style: str = "") -> Text:
    """Return a line; a title has an empty one before it."""
    return Text(f"\n{text}" if style == TITLE else text, style)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Return a table: whole numbers are written with commas, others with one digit, and all to the right."""
    written = [[_written(cell) for cell in row] for row in rows]
    lines = Table(box=None, pad_edge=False, header_style="dim")
    for place, title in enumerate(columns):
        are_numbers = place > 0 and all(NUMBER.match(row[place]) for row in written)
        lines.add_column(Text(title), justify="right" if are_numbers else "left")
    for row in written:
        lines.add_row(*map(Text, row))
    return lines


def table_of(found: Iterable[Facts], titles: Mapping[str, str]) -> Table:
    """Return a table with a row for each thing found and a column, with its title, for each of its fields."""
    return table([*titles.values()], [[each[name] for name in titles] for each in found])


def _written(cell: object) -> str:
    if isinstance(cell, int):
        return f"{cell:,}"
    return f"{cell:,.1f}" if isinstance(cell, float) else str(cell)


def harmless(text: str) -> str:
    """Return a text without what a terminal would obey."""
    return "".join(character if character.isprintable() or character in "\n\t" else "\ufffd" for character in text)


def visible(text: str, line_end: str = "⏎") -> str:
    """Return a text with signs for line breaks and tabs, and without what a terminal would obey."""
    return harmless(text.replace("\n", line_end).replace("\t", "⇥"))


def size(count: float) -> str:
    """Return bytes in words."""
    return f"{count / 1e9:.2f} GB" if abs(count) >= 1e9 else f"{count / 1e6:.1f} MB"


def duration(seconds: float) -> str:
    """Return seconds in words."""
    if seconds < 120:
        return f"{seconds:.3f} s" if seconds < 1 else f"{seconds:.1f} s"
    return f"{seconds / 3600:.1f} h" if seconds >= 7200 else f"{seconds / 60:.1f} min"
