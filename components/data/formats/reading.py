"""What the readers of all formats share: how much is read at a time, and what is said of a file that is not right."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from components.core.errors import DataRejected, TableError
from components.data.columns import Key
from components.data.formats.chat import chat_advice
from components.data.formats.dialect import DELIMITED
from components.data.formats.recognising import other_delimiter
from components.data.sources import FileSource

BATCH = 1 << 14
NAMES_SHOWN = 12

Batch = Sequence[Sequence[object]]
"""Column by column the cells of some records."""


@dataclass
class Seen:
    """What is found out about a file while it is read."""

    columns: dict[Key, None] = field(default_factory=dict)
    """All columns that it has, in its order: names, or positions where it has none."""
    notes: list[str] = field(default_factory=list)
    """What should be said of it, a sentence each."""


def no_column(path: Path, source: FileSource, key: Key, there: Sequence[object]) -> DataRejected:
    """Return the error for a column that a file does not have, with those that it has."""
    field = source.fields_with(key)[0]
    shown = ", ".join(map(repr, there[:NAMES_SHOWN])) + (", ..." if len(there) > NAMES_SHOWN else "")
    mapped = source.columns[field]
    named = f"is {key!r}" if mapped == key else f"names {key!r}"
    correct = f"correct source.columns.{field}" + (f", or source.format ({source.format})" if len(there) == 1 else "")
    needed = [each for each in source.read_columns() if each != source.optional]
    advice = chat_advice(there) or other_delimiter(path, source, needed) or correct
    return DataRejected(
        f"{path.name} has no column {field}: source.columns.{field} {named}, "
        f"and the columns there are {shown}; {advice}"
    )


def unused_columns(source: FileSource, there: Iterable[Key]) -> list[str]:
    """Return the names, or positions, of a file's columns that nothing is made of.

    In JSON and Parquet a column is used if something inside it is.
    """
    used = {str(key) for key in source.read_columns()}
    inside = {key.split(".")[0] for key in used} if source.format not in DELIMITED else set()
    return [str(key) for key in there if str(key) not in used | inside]


def unused_note(path: Path, unused: Sequence[str]) -> list[str]:
    """Return the sentence that names a file's unused columns, if there are any."""
    if not unused:
        return []
    shown = ", ".join(unused[:NAMES_SHOWN]) + (", ..." if len(unused) > NAMES_SHOWN else "")
    them = "1 column is not used" if len(unused) == 1 else f"{len(unused):,} columns are not used"
    return [f"{path.name}: {them}: {shown}; a template in source.columns can take in more than one"]


def empty(path: Path) -> TableError:
    """Return the error for a file that holds nothing."""
    return TableError(f"{path.name} is empty; check source.url and source.member")
