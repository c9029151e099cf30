"""Which cells of a record make its text and its label, as a column or a template over several, and how they read."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator

from components.core.templates import Template

Key = str | int
"""A column: its name, or its position from 0."""


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


def nfc(label: str) -> str:
    """Return a label in Unicode's composed form: an `é` of one character or of two is one label.

    https://unicode.org/reports/tr15/
    """
    return label if label.isascii() else unicodedata.normalize("NFC", label)


def _as_label(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError(f"put it into quotes: YAML reads yes, no, on, off, true and false as {str(value).lower()}")
    text = as_text(value) if isinstance(value, int | float) else value
    return nfc(text) if isinstance(text, str) else text


Label = Annotated[str, BeforeValidator(_as_label)]
"""A label in a config: YAML reads `1: ham` as a number, which is the same as the text "1"."""


def rename(cells: Sequence[str | None], names: Mapping[str, str]) -> list[str | None]:
    """Return labels as `names` calls them, in Unicode's composed form; None stays, and so do labels without a name."""
    normalized = {cell: names.get(nfc(cell), nfc(cell)) for cell in set(cells) if cell is not None}
    return [normalized[cell] if cell is not None else None for cell in cells]


def check_names(names: object) -> object:
    """Return a mapping of labels as it is.

    Raises:
        ValueError: if it holds a label twice: as a number and as a text, or in two forms that look the same.
    """
    keys = [key for key in names if isinstance(key, str | int | float)] if isinstance(names, dict) else []
    labels = [nfc(label) for key in keys if (label := as_text(key)) is not None]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if not twice:
        return names
    how = "as a number and as a text" if twice[0].isascii() else "in two of Unicode's forms that look the same"
    raise ValueError(f"{twice[0]!r} is there {how}, which is one label; write it once")
