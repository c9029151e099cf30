"""What a command shows of what it found: lines, tables, tokens, and quantities in words."""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from rich.console import Console
from rich.table import Table
from rich.text import Text

from components.core.records import Facts

Shown = Text | Table
TITLE, WARNING, PROBLEM, ASIDE = "bold", "yellow", "red", "dim"
"""Styles of a line."""
STRIPES = ("black on bright_green", "black on bright_cyan")
"""Styles that tokens take turns in."""
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


def tokens(
    pieces: Sequence[str], marks: tuple[str, str], learnt: Sequence[bool] | None = None, colour: bool | None = None
) -> Text:
    """Return tokens with their boundaries to be seen; line breaks stay, each with a sign of its own.

    Of each `learnt` says whether it stands out, None if all do: in a `colour`, which None takes where the terminal has
    some, or between two `marks`.
    """
    colour = bool(Console().color_system) if colour is None else colour
    text = Text()
    every = zip(learnt or [True] * len(pieces), pieces, strict=True)
    for stands_out, group in groupby(every, key=lambda token: token[0]):
        shown = [_visible(piece) for _, piece in group]
        if not stands_out:
            text.append("".join(shown), ASIDE)
        elif colour:
            text.append_text(Text.assemble(*((piece, STRIPES[place % 2]) for place, piece in enumerate(shown))))
        else:
            text.append(f"{marks[0]}{'|'.join(shown)}{marks[1]}")
    return Text("  ") + Text("\n  ").join(text.split("\n", allow_blank=True))


def _visible(piece: str) -> str:
    return "\n".join(map(_printable, piece.replace("\t", "⇥").replace("\n", "⏎\n").split("\n")))


def one_line(text: str) -> str:
    """Return text with signs for line breaks and tabs, and none that a terminal would obey."""
    return _printable(text.replace("\n", "⏎").replace("\t", "⇥"))


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def size(count: float) -> str:
    """Return bytes in words."""
    return f"{count / 1e9:.2f} GB" if abs(count) >= 1e9 else f"{count / 1e6:.1f} MB"


def duration(seconds: float) -> str:
    """Return seconds in words."""
    if seconds < 120:
        return f"{seconds:.3f} s" if seconds < 1 else f"{seconds:.1f} s"
    return f"{seconds / 3600:.1f} h" if seconds >= 7200 else f"{seconds / 60:.1f} min"
