"""A raw file as a table of texts and labels, and that table as Parquet with a declared schema."""

import codecs
import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from components.data.sources import SourceConfig
from components.data.unpack import is_archive
from components.errors import TableError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

CHUNK = 1 << 20
COLUMNS = ("row", "text", "label")
SEPARATORS = {"csv": ",", "tsv": "\t"}
QUOTING: dict[str, Literal[0, 3]] = {"default": csv.QUOTE_MINIMAL, "none": csv.QUOTE_NONE}


def read_table(path: Path, source: SourceConfig) -> "pd.DataFrame":
    """Return the records of a delimited file, every value as text.

    The columns are `row` (int64: the record's number in the file from 1, blank lines and header not counted),
    `text` and `label`. A mapped column that the file does not have is left out, for validation to report. An empty
    or missing field is null; the words `NA`, `null` and `None` are text like any other.

    Raises:
        TableError: if the file is empty, is not in the declared encoding, has records with more fields than the
            first, or has several columns of a mapped name.
    """
    _check_encoding(path, source)
    cells = _parse(path, source)
    names = list(cells.columns)
    if source.header:
        names = cells.iloc[0].tolist()
        cells = cells.iloc[1:].reset_index(drop=True)
    frame = cells.iloc[:, []].assign(row=range(1, len(cells) + 1)).astype({"row": "int64"})
    for field in COLUMNS[1:]:
        position = _position(path, source, field, names)
        if position is not None:
            frame[field] = cells.iloc[:, position]
    if source.label_map and "label" in frame:
        renamed = source.label_map
        frame["label"] = frame["label"].map(lambda label: renamed.get(label, label)).astype("str")
    return frame


def write_table(frame: "pd.DataFrame", path: Path) -> None:
    """Write a table to Parquet: `row` int64, `text` and `label` string, of these the columns that it has."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = [field for field in schema() if field.name in frame]
    table = pa.Table.from_pandas(frame, schema=pa.schema(fields), preserve_index=False)
    # pandas' own metadata holds its version: the file's hash would change with it.
    pq.write_table(table.replace_schema_metadata(None), path)


def schema() -> "pa.Schema":
    """Return the declared Arrow schema of a table: `row` int64, `text` string, `label` string."""
    import pyarrow as pa

    return pa.schema([("row", pa.int64()), ("text", pa.string()), ("label", pa.string())])


def _parse(path: Path, source: SourceConfig) -> "pd.DataFrame":
    """Read all cells as text. The header is a record here: pandas would take a short one for a missing index."""
    import pandas as pd

    try:
        return pd.read_csv(
            path,
            sep=SEPARATORS[source.format],
            header=None,
            dtype="str",
            quoting=QUOTING[source.quoting],
            encoding=source.encoding,
            keep_default_na=False,
            na_values=[""],
            compression=None,
        )
    except pd.errors.EmptyDataError as error:
        raise TableError(f"{path.name} is empty; check source.url and source.member") from error
    except pd.errors.ParserError as error:
        raise TableError(f"{path.name}: {_parser_message(str(error), source)}") from error


def _parser_message(said: str, source: SourceConfig) -> str:
    if found := re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", said):
        expected, line, seen = found.groups()
        return (
            f"line {line} has {seen} fields, the first has {expected}; "
            f"check source.format ({source.format}) and source.quoting ({source.quoting})"
        )
    if found := re.search(r"EOF inside string starting at row (\d+)", said):
        record = int(found[1]) + 1
        return (
            f"the quote that opens in record {record} is never closed; source.quoting=none takes quotes as characters"
        )
    return f"cannot be read as {source.format}: {said.strip()}"


def _position(path: Path, source: SourceConfig, field: str, names: Sequence[object]) -> int | None:
    """Return where the column mapped to `field` stands, or None if it is not mapped or not there."""
    column = source.columns.get(field)  # type: ignore[call-overload]
    if isinstance(column, int):
        return column if column < len(names) else None
    if names.count(column) > 1:
        raise TableError(
            f"{path.name} has {names.count(column)} columns {column!r}; give source.columns.{field} as a position"
        )
    return names.index(column) if column in names else None


def _check_encoding(path: Path, source: SourceConfig) -> None:
    """Raise TableError with the place of the first byte that is not text in the declared encoding."""
    decoder = codecs.getincrementaldecoder(source.encoding)()
    before = lines = 0
    with path.open("rb") as file:
        while True:
            chunk = file.read(CHUNK)
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                # error.object is the chunk, after what the decoder kept of a character cut in two.
                at = before + len(chunk) - len(error.object) + error.start
                line = lines + error.object[: error.start].count(b"\n") + 1
                raise TableError(_encoding_message(path, source, at, line)) from error
            if not chunk:
                return
            before += len(chunk)
            lines += chunk.count(b"\n")


def _encoding_message(path: Path, source: SourceConfig, at: int, line: int) -> str:
    if is_archive(path):
        return f"{path.name} is an archive; set source.member to the file inside it"
    return f"{path.name} is not {source.encoding}: byte {at} (line {line}); convert the file, or set source.encoding"
