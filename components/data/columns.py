"""Which cells of a record make its text and its label: a column, or a template over several."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

Key = str | int
"""A column: its name, or its position from 0."""

_PIECE = re.compile(r"(\{\{|\}\}|\{[^{}]+\}|[{}])")


def as_text(value: object) -> str | None:
    """Return what a cell says as text, None for a missing one: `1` for 1 and for 1.0, `true` for True.

    Raises:
        ValueError: if it holds other values (a list, an object), or bytes that are not UTF-8.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float | Decimal):
        if value != value:  # noqa: PLR0124, not a number, which is how a missing one is written
            return None
        # What is too large for every integer to have a number of its own stays as it is written.
        number = float(value)
        return str(int(number)) if abs(number) < 2**53 and number.is_integer() else str(value)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, int | date):
        return str(value)
    raise ValueError(f"a {type(value).__name__}, not text or a number")


@dataclass(frozen=True)
class Template:
    """Literal text with columns in between: there is one literal more than there are columns."""

    literals: tuple[str, ...]
    columns: tuple[str, ...]

    @classmethod
    def of(cls, written: str) -> "Template":
        """Read `{title}: {body}`; `{{` and `}}` stand for a brace.

        Raises:
            ValueError: if a brace stands alone, or there is no column.
        """
        literals, columns = [""], []
        for piece in _PIECE.split(written):
            if piece in ("{", "}"):
                raise ValueError(
                    f"{written!r} has a brace that stands alone; a column is {{name}}, a brace {{{{ or }}}}"
                )
            if piece.startswith("{") and piece.endswith("}"):
                columns.append(piece[1:-1])
                literals.append("")
            else:
                literals[-1] += piece[0] if piece in ("{{", "}}") else piece
        if not columns:
            raise ValueError(f"{written!r} names no column; a column is {{name}}")
        return cls(tuple(literals), tuple(columns))

    def fill(self, cells: Sequence[Iterable[str | None]]) -> list[str | None]:
        """Return a text a record, given the cells of each column: a missing cell is empty, all missing are None."""
        first, *others = self.literals
        return [
            first + "".join(f"{cell or ''}{literal}" for cell, literal in zip(row, others, strict=True))
            if any(row)
            else None
            for row in zip(*cells, strict=True)
        ]


def is_template(column: Key) -> bool:
    """Say whether a column is a template over others: whether it has a brace."""
    return isinstance(column, str) and bool(re.search("[{}]", column))


def keys_of(column: Key, *, positions: bool = False) -> tuple[Key, ...]:
    """Return the columns that a column or template needs; digits in a template are positions where there are no names.

    Raises:
        ValueError: if it has braces and is no template.
    """
    if not is_template(column):
        return (column,)
    return tuple(int(name) if positions and name.isdecimal() else name for name in Template.of(str(column)).columns)


def listed(fields: Sequence[str]) -> str:
    """Return the names of fields as a sentence has them."""
    first = ", ".join(fields[:-1])
    return f"{first} and {fields[-1]}" if first else f"the {fields[-1]}"
