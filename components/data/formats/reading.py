"""What the readers of all formats share: how much is read at a time, and the errors of a file that is not right."""

import csv
import zipfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal

from components.core.errors import DataRejected, TableError
from components.data.columns import Key
from components.data.formats.dialect import DELIMITED, open_text
from components.data.sources import FileSource

BATCH = 1 << 14
NAMES_SHOWN = 12

Batch = Sequence[Sequence[object]]
"""Column by column the cells of some records."""

PARQUET = b"PAR1"
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""How files of Microsoft's older formats begin, and workbooks with a password."""
WORKBOOKS = {"xl/": "an Excel workbook", "content.xml": "an OpenDocument spreadsheet"}
SPREADSHEETS = (".xls", ".xlsx", ".xlsm", ".xlsb", ".ods")
OTHERS = {";": '";"', "\t": '"\\t"', "|": '"|"', ",": '","'}
"""Delimiters that are tried, as they are written in YAML."""
LINES = 20
LONGEST = 1 << 16


@dataclass
class Seen:
    """What is found out about a file while it is read."""

    columns: dict[Key, None] = field(default_factory=dict)
    """All columns that it has, in its order: names, or positions where it has none."""
    notes: list[str] = field(default_factory=list)
    """Notes on it, a sentence each."""
    last: int = 0
    """The number of its last record, where not all are used."""


def no_column(path: Path, source: FileSource, key: Key, there: Sequence[object]) -> DataRejected:
    """Return the error for a column that a file does not have, with those that it has."""
    field = source.fields_with(key)[0]
    shown = ", ".join(map(repr, there[:NAMES_SHOWN])) + (", ..." if len(there) > NAMES_SHOWN else "")
    mapped = source.columns[field]
    named = f"is {key!r}" if mapped == key else f"names {key!r}"
    correct = f"correct source.columns.{field}" + (f", or source.format ({source.format})" if len(there) == 1 else "")
    needed = [each for each in source.read_columns() if each != source.optional]
    advice = other_delimiter(path, source, needed) or correct
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


def refuse_other_formats(path: Path, source: FileSource) -> None:
    """Raise TableError if a file is a spreadsheet by its content, or Parquet where another format is declared."""
    with path.open("rb") as file:
        start = file.read(LONGEST)
    if start.startswith(PARQUET) and source.format != "parquet":
        raise TableError(f"{path.name} is a Parquet file, not {source.format}; set source.format=parquet")
    kind = "an Excel workbook" if start.startswith(OLE) else _workbook(path) if start.startswith(b"PK") else None
    named = source.format in DELIMITED and path.suffix.lower() in SPREADSHEETS
    if kind is None and named and (b"\0" in start or start.lstrip().startswith((b"<", b"\xef\xbb\xbf<"))):
        kind = "a spreadsheet, by its name"
    if kind:
        raise TableError(
            f"{path.name} is {kind}, not {source.format}; save it as CSV in UTF-8 (File, Save As, CSV UTF-8), and name "
            "that file in source.url"
        )


def _workbook(path: Path) -> str | None:
    with suppress(zipfile.BadZipFile, OSError, ValueError), zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        return next((kind for part, kind in WORKBOOKS.items() if any(name.startswith(part) for name in names)), None)
    return None


def other_delimiter(path: Path, source: FileSource, keys: Sequence[Key] = ()) -> str | None:
    """Return what to set, if the first lines of a delimited file have fields with another delimiter.

    These are as many in each line, two or more, and `keys`, if there are any, are among them.
    """
    if source.format not in DELIMITED:
        return None
    lines = _first_lines(path, source)
    for delimiter, written in OTHERS.items():
        if delimiter != source.separator and _fits(lines, source, keys, delimiter, csv.QUOTE_MINIMAL):
            advice = "source.format=tsv" if delimiter == "\t" else f"source.delimiter={written}"
            return f"its fields are separated by {delimiter!r}: set {advice}"
    return None


def begins_like(path: Path, source: FileSource) -> bool:
    """Say whether the first lines of a file are records with the columns of a delimited source.

    Between commas names alone tell, since prose has commas too.
    """
    keys = [key for key in source.read_columns() if key != source.optional]
    if source.separator == "," and not any(isinstance(key, str) for key in keys):
        return False
    quoting: Literal[0, 3] = csv.QUOTE_NONE if source.quoting == "none" else csv.QUOTE_MINIMAL
    with suppress(UnicodeError):
        return _fits(_first_lines(path, source), source, keys, source.separator, quoting)
    return False


def _fits(
    lines: Sequence[str], source: FileSource, keys: Sequence[Key], delimiter: str, quoting: Literal[0, 3]
) -> bool:
    """Say whether lines have as many fields each, two or more, and `keys` are among them."""
    with suppress(csv.Error):
        records = list(csv.reader(lines, delimiter=delimiter, quoting=quoting))
        widths = {len(fields) for fields in records[:-1] or records if fields}  # the last may be cut off
        there: Sequence[Key] = records[0] if records and source.header else range(max(widths, default=0))
        return len(widths) == 1 and max(widths) > 1 and all(key in there for key in keys)
    return False


def _first_lines(path: Path, source: FileSource) -> list[str]:
    with open_text(path, source.encoding) as file:
        return [line for line in islice(iter(lambda: file.readline(LONGEST), ""), LINES) if line.strip()]
