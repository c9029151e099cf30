"""Which cells of a record make its text and its label: a column, or a template over several."""

import re
from collections.abc import Sequence
from datetime import date
from decimal import Decimal

from components.core import templates

Key = str | int
"""A column: its name, or its position from 0."""
Template = templates.Template
"""Of `{title}: {body}`: literal text with columns in between."""


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


def is_template(column: Key) -> bool:
    """Say whether a column is a template over others: whether it has a brace."""
    return isinstance(column, str) and bool(re.search("[{}]", column))


def keys_of(column: Key, *, positions: bool = False) -> tuple[Key, ...]:
    """Return the columns that a column or template needs; digits in a template are positions where there are no names.

    Raises:
        ValueError: if it has braces and is no template, or none of a column.
    """
    if not is_template(column):
        return (column,)
    if not (names := Template.of(str(column)).names):
        raise ValueError(f"{column!r} names no column; a column is {{name}}")
    return tuple(int(name) if positions and name.isdecimal() else name for name in names)


def listed(fields: Sequence[str]) -> str:
    """Return the names of fields as a sentence has them."""
    first = ", ".join(fields[:-1])
    return f"{first} and {fields[-1]}" if first else f"the {fields[-1]}"
