"""What a file is that is not what it is said to be: a spreadsheet, a Parquet file, one with other delimiters."""

import csv
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Literal

from components.core.errors import TableError
from components.data.columns import Key
from components.data.formats.dialect import DELIMITED
from components.data.formats.opening import open_text
from components.data.sources import FileSource

PARQUET = b"PAR1"
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""How files of Microsoft's older formats begin, and workbooks with a password."""
WORKBOOKS = {"xl/": "an Excel workbook", "content.xml": "an OpenDocument spreadsheet"}
SPREADSHEETS = (".xls", ".xlsx", ".xlsm", ".xlsb", ".ods")
OTHERS = {";": '";"', "\t": '"\\t"', "|": '"|"', ",": '","'}
"""Delimiters that are tried, as they are written in YAML."""
LINES = 20
LONGEST = 1 << 16


def refuse_other_formats(path: Path, source: FileSource) -> None:
    """Raise TableError if a file's content says that it is a spreadsheet, or Parquet where that was not said."""
    with path.open("rb") as file:
        start = file.read(len(OLE))
    if start.startswith(PARQUET) and source.format != "parquet":
        raise TableError(f"{path.name} is a Parquet file, not {source.format}; set source.format=parquet")
    kind = "an Excel workbook" if start == OLE else _workbook(path) if start.startswith(b"PK") else None
    if kind is None and _named_like_a_spreadsheet(path, source) and not _is_text(path):
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


def _named_like_a_spreadsheet(path: Path, source: FileSource) -> bool:
    return source.format in DELIMITED and path.suffix.lower() in SPREADSHEETS


def _is_text(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(LONGEST)
    return b"\0" not in start and not start.lstrip().startswith((b"<", b"\xef\xbb\xbf<"))


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
    with open_text(path, source) as file:
        return [line for line in islice(iter(lambda: file.readline(LONGEST), ""), LINES) if line.strip()]
