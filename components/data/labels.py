"""Labels: a number is the text that it is written as, and what looks the same is the same."""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import BeforeValidator

from components.data.columns import as_text


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
