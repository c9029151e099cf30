"""Raw files as records, a batch at a time: CSV, TSV, JSON, JSON Lines, Parquet.

Every reader takes the columns that are wanted and yields batches of some thousand records: for each column a
sequence of its cells as they came, None for a missing one, or an Arrow array of texts.
"""

import csv
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, TextIO

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from components.core.errors import TableError
from components.data.columns import Key
from components.data.formats import reading
from components.data.formats.dialect import DELIMITED, is_utf8, open_text
from components.data.formats.encoding import check_text
from components.data.formats.json_readers import read_json, read_json_lines
from components.data.formats.quotes import ADVICE, LONGEST_FIELD
from components.data.formats.reading import BATCH, NAMES_SHOWN, Batch, Seen
from components.data.sources import FileSource
from components.data.unpack import is_archive

QUOTING: dict[str, Literal[0, 3]] = {
    "default": csv.QUOTE_MINIMAL,
    "lenient": csv.QUOTE_MINIMAL,
    "none": csv.QUOTE_NONE,
}
CLOSING = ["\0", "\0"]
BLOCK = 1 << 20
"""Bytes that Arrow parses at a time; a longer record is read by Python."""


def read_records(path: Path, source: FileSource, keys: Sequence[Key], seen: Seen | None = None) -> Iterator[Batch]:
    """Yield the cells of the columns `keys`, column by column, in batches; `seen` takes notes of the file.

    Raises:
        TableError: if the file is empty, is not in the declared encoding or format, or holds a record that is not
            one, such as a line that is no JSON or a row with more fields than the first.
        DataRejected: if there is no such column.
    """
    if not path.stat().st_size:
        raise reading.empty(path)
    seen = seen or Seen()
    reading.refuse_other_formats(path, source)
    if source.format == "parquet":
        return (cells for _, cells in read_parquet(path, source, keys, seen))
    seen.notes += check_text(path, source)
    readers = {"json": read_json, "jsonl": read_json_lines}
    return readers.get(source.format, _read_delimited)(path, source, keys, seen)


def columns_there(path: Path, source: FileSource) -> list[Key]:
    """Return a file's columns: names, or positions where it has none. JSON is read to its end for them.

    Raises:
        TableError: as `read_records`.
    """
    seen = Seen()
    if source.format in DELIMITED:
        reading.refuse_other_formats(path, source)
        check_text(path, source)
        with open_text(path, source.encoding) as file:
            first = next(read_fields(path, source, file), None)
        if first is None:
            raise reading.empty(path)
        return list(first if source.header else range(len(first)))
    deque(read_records(path, source, [], seen), maxlen=0)
    return list(seen.columns)


# --- CSV and TSV


def _read_delimited(path: Path, source: FileSource, keys: Sequence[Key], seen: Seen) -> Iterator[Batch]:
    with open_text(path, source.encoding) as file:
        records = read_fields(path, source, file)
        first = next(records, None)
        if first is None:
            raise reading.empty(path)
        seen.columns.update(dict.fromkeys(first if source.header else range(len(first))))
        there = [key for key in keys if key in first or key != source.optional]
        places = [_place(path, source, key, first) for key in there]
        done, header = 0, int(source.header)
        checked = source.quoting != "lenient" and is_utf8(source.encoding)
        if checked and len(first) > 1 and source.separator.isascii():
            try:
                for columns in read_quickly(path, source.separator, source.quoting == "default", places):
                    unnamed = [column[max(header - done, 0) :] for column in columns]
                    done += len(columns[0])
                    yield _fill_missing(keys, dict(zip(there, unnamed, strict=True)), len(unnamed[0]))
            except pa.ArrowException:
                pass  # the rest has to be read field by field
            else:
                return
        rest = islice(chain([first], records), max(done, header), None)
        cells = ([fields[place] or None for place in places] for fields in rest)
        while batch := list(islice(cells, BATCH)):
            yield _fill_missing(keys, dict(zip(there, zip(*batch, strict=True), strict=True)), len(batch))


def _fill_missing(keys: Sequence[Key], columns: Mapping[Key, Sequence[object]], rows: int) -> Batch:
    return [columns[key] if key in columns else [None] * rows for key in keys]


def read_quickly(
    path: Path, separator: str, quoted: bool, places: Sequence[int], block: int = BLOCK
) -> Iterator[list[pa.Array]]:
    """Yield the fields at these places of all records, the first one's too, a batch at a time; an empty field is null.

    Arrow is some fifty times faster than Python's `csv`. Both read the same of UTF-8 whose quotes are right (`quotes`)
    and in which every record has as many fields, two or more, as the first.
    https://arrow.apache.org/docs/cpp/csv.html

    Raises:
        pyarrow.ArrowException: at the first batch in which a record has more or fewer fields, or is too long.
    """
    names = [f"f{place}" for place in places]
    with (
        path.open("rb") as file,
        arrow_csv.open_csv(
            file,
            arrow_csv.ReadOptions(block_size=block, autogenerate_column_names=True),
            arrow_csv.ParseOptions(delimiter=separator, quote_char='"' if quoted else False, newlines_in_values=quoted),
            arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                include_columns=list(dict.fromkeys(names)),
                null_values=[""],
                strings_can_be_null=True,
                check_utf8=False,  # that has been done
            ),
        ) as batches,
    ):
        yield from ([batch[name] for name in names] for batch in batches if batch.num_rows)


def read_fields(path: Path, source: FileSource, file: TextIO) -> Iterator[list[str]]:
    """Yield the fields of every record that is no blank line; short ones are filled up with empty fields."""
    csv.field_size_limit(LONGEST_FIELD)  # of the whole process; the default is 131,072
    last, ended = "", False

    def lines() -> Iterator[str]:
        nonlocal last, ended
        for last in file:  # noqa: UP028, the line is kept
            yield last
        ended = True
        # One more record: where a quote is still open it ends up inside the last field.
        yield source.separator.join(CLOSING)

    reader = csv.reader(lines(), delimiter=source.separator, quoting=QUOTING[source.quoting])
    width, line = 0, 1
    try:
        for fields in reader:
            if ended:
                if fields != CLOSING:
                    raise csv.Error("the file ends in it")
                return
            if len(fields) > 1 or not last.isspace():
                width = width or len(fields)
                if len(fields) > width:
                    advice = f"check source.format ({source.format}) and source.quoting ({source.quoting})"
                    found = f"line {line} has {len(fields)} fields, the first has {width}"
                    raise TableError(f"{path.name}: {found}; {reading.other_delimiter(path, source) or advice}")
                yield fields + [""] * (width - len(fields)) if len(fields) < width else fields
            line = reader.line_num + 1
    except csv.Error as error:
        where = f"a quote in the record that begins in line {line}"
        raise TableError(f"{path.name}: {where} is never closed; close it, or {ADVICE} ({error})") from error


def _place(path: Path, source: FileSource, key: Key, first: list[str]) -> int:
    """Return where the column `key` stands in a record, given the first one."""
    if isinstance(key, int):
        if key >= len(first):
            raise reading.no_column(path, source, key, range(len(first)))
        return key
    if first.count(key) > 1:
        raise TableError(
            f"{path.name} has {first.count(key)} columns {key!r}; rename one, or give source.columns as positions"
        )
    if key not in first:
        raise reading.no_column(path, source, key, first)
    return first.index(key)


# --- Parquet


def read_parquet(
    path: Path, source: FileSource, keys: Sequence[Key], seen: Seen, whole: bool = False
) -> Iterator[tuple[pa.RecordBatch, Batch]]:
    """Yield what was read, with the cells of the columns `keys`: all of the file's columns, or only those needed."""
    try:
        # Page by page, however large the row groups are.
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
            schema = file.schema_arrow
            seen.columns.update(dict.fromkeys(schema.names))
            there = [key for key in keys if key in schema.names or key != source.optional]
            names = [_parquet_name(path, source, key, schema) for key in there]
            for batch in file.iter_batches(BATCH, columns=None if whole else names):
                flat = _flat(pa.Table.from_batches([batch]))
                found = {key: flat[name].to_pylist() for key, name in zip(there, names, strict=True)}
                yield batch, _fill_missing(keys, found, batch.num_rows)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if is_archive(path):
            raise TableError(f"{path.name} is an archive; set source.member to the file inside it") from error
        fault = " ".join(str(error).split())
        raise TableError(
            f"{path.name} cannot be read as Parquet: {fault}; check source.format, or fetch it again"
        ) from error


def _parquet_name(path: Path, source: FileSource, key: Key, schema: Any) -> str:
    names = schema.names
    if isinstance(key, int):
        if key >= len(names):
            raise reading.no_column(path, source, key, range(len(names)))
        key = names[key]
    leaves = _flat(schema.empty_table()).schema.names
    if leaves.count(key) > 1:
        raise TableError(
            f"{path.name} has {leaves.count(key)} columns {key!r}, counting fields inside structs; rename one"
        )
    inside = [repr(name) for name in leaves if name.startswith(f"{key}.")][:NAMES_SHOWN]
    if key not in leaves and inside:
        raise TableError(
            f"{path.name}: column {key!r} is a struct; name a field of it in source.columns: {' or '.join(inside)}"
        )
    if key not in leaves:
        raise reading.no_column(path, source, key, names)
    return str(key)


def _flat(table: Any) -> Any:
    """Return the table with every struct taken apart: the `b` inside `a` is the column `a.b`."""
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    return table
