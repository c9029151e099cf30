"""What the readers of all formats share: how much is read at a time, and what is said of a file that is not right."""

from collections.abc import Sequence
from pathlib import Path

from components.data.columns import Key
from components.data.sources import FileSource
from components.errors import DataRejected, TableError

BATCH = 1 << 14
NAMES_SHOWN = 12

Batch = Sequence[Sequence[object]]
"""Column by column the cells of some records."""


def no_column(path: Path, source: FileSource, key: Key, there: Sequence[object]) -> DataRejected:
    """Return the error for a column that a file does not have, with those that it has."""
    field = source.fields_with(key)[0]
    shown = ", ".join(map(repr, there[:NAMES_SHOWN])) + (", ..." if len(there) > NAMES_SHOWN else "")
    mapped = source.columns[field]
    named = f"is {key!r}" if mapped == key else f"names {key!r}"
    return DataRejected(
        f"{path.name} has no column {field}: source.columns.{field} {named}, and the columns there are {shown}; "
        f"correct source.columns.{field}" + (f", or source.format ({source.format})" if len(there) == 1 else "")
    )


def empty(path: Path) -> TableError:
    """Return the error for a file that holds nothing."""
    return TableError(f"{path.name} is empty; check source.url and source.member")


def codec(source: FileSource) -> str:
    """Return the name under which Python decodes the file: a byte order mark is no part of its text."""
    return "utf-8-sig" if source.encoding == "utf-8" else source.encoding
