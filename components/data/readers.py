"""Raw files as records, a batch at a time: CSV, TSV, JSON, JSON Lines, Parquet.

Every reader takes the columns that are wanted and yields batches of at most `BATCH` records: for each column the list
of its cells as they came, None for a missing one.
"""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, TextIO

from components.data.columns import Key
from components.data.encoding import check_encoding
from components.data.sources import SourceConfig
from components.data.unpack import is_archive
from components.errors import DataRejected, TableError

BATCH = 1 << 14
LONGEST_FIELD = 1 << 24  # characters; a quote that is never closed would take the rest of the file for one field
NAMES_SHOWN = 12
SEPARATORS = {"csv": ",", "tsv": "\t"}
QUOTING: dict[str, Literal[0, 3]] = {"default": csv.QUOTE_MINIMAL, "none": csv.QUOTE_NONE}
CLOSING = ["\0", "\0"]
PARQUET = b"PAR1"
MISSING = object()

Batch = Sequence[Sequence[object]]


def read_records(path: Path, source: SourceConfig, keys: Sequence[Key]) -> Iterator[Batch]:
    """Yield the cells of the columns `keys`, column by column, in batches.

    Raises:
        TableError: if the file is empty, is not in the declared encoding or format, or holds a record that is not
            one, such as a line that is no JSON or a row with more fields than the first.
        DataRejected: if there is no such column.
    """
    if not path.stat().st_size:
        raise _empty(path)
    if source.format != "parquet":
        _refuse_parquet(path, source)
        check_encoding(path, source)
    readers: dict[str, Callable[[Path, SourceConfig, Sequence[Key]], Iterator[Batch]]] = {
        "json": _read_json,
        "jsonl": _read_json_lines,
        "parquet": _read_parquet,
    }
    return readers.get(source.format, _read_delimited)(path, source, keys)


def no_column(path: Path, source: SourceConfig, key: Key, there: Sequence[object]) -> DataRejected:
    """Return the error for a column that a file does not have, with those that it has."""
    field = "text" if key in source.fields_of("text") else "label"
    shown = ", ".join(map(repr, there[:NAMES_SHOWN])) + (", ..." if len(there) > NAMES_SHOWN else "")
    mapped = source.columns[field]  # type: ignore[index]
    named = f"is {key!r}" if mapped == key else f"names {key!r}"
    return DataRejected(
        f"{path.name} has no column {field}: source.columns.{field} {named}, and the columns there are {shown}; "
        f"correct source.columns.{field}" + (f", or source.format ({source.format})" if len(there) == 1 else "")
    )


def _empty(path: Path) -> TableError:
    return TableError(f"{path.name} is empty; check source.url and source.member")


def _refuse_parquet(path: Path, source: SourceConfig) -> None:
    with path.open("rb") as file:
        if file.read(len(PARQUET)) == PARQUET:
            raise TableError(f"{path.name} is a Parquet file, not {source.format}; set source.format=parquet")


# --- CSV and TSV


class _Lines:
    """The lines of a file and one more, of two fields: where a quote is still open it ends up inside the last field."""

    def __init__(self, file: TextIO, separator: str) -> None:
        self.file, self.closing = file, separator.join(CLOSING)
        self.last, self.ended = "", False

    def __iter__(self) -> Iterator[str]:
        for line in self.file:
            self.last = line
            yield line
        self.ended = True
        yield self.closing


def _read_delimited(path: Path, source: SourceConfig, keys: Sequence[Key]) -> Iterator[Batch]:
    with path.open(encoding=_codec(source), newline="") as file:
        records = _fields(path, source, file)
        first = next(records, None)
        if first is None:
            raise _empty(path)
        places = [_place(path, source, key, first) for key in keys]
        if not source.header:
            records = chain([first], records)
        cells = ([fields[place] or None for place in places] for fields in records)
        while batch := list(islice(cells, BATCH)):
            yield list(zip(*batch, strict=True))


def _codec(source: SourceConfig) -> str:
    return "utf-8-sig" if source.encoding == "utf-8" else source.encoding


def _fields(path: Path, source: SourceConfig, file: TextIO) -> Iterator[list[str]]:
    """Yield the fields of every record that is no blank line; short ones are filled up with empty fields."""
    csv.field_size_limit(LONGEST_FIELD)  # of the whole process; the default is 131,072
    separator = SEPARATORS[source.format]
    lines = _Lines(file, separator)
    reader = csv.reader(lines, delimiter=separator, quoting=QUOTING[source.quoting])
    width, line = 0, 1
    try:
        for fields in reader:
            if lines.ended:
                if fields != CLOSING:
                    raise TableError(_unclosed(path, line))
                return
            if len(fields) > 1 or not lines.last.isspace():
                width = width or len(fields)
                if len(fields) > width:
                    raise TableError(_too_wide(path, source, line, len(fields), width))
                yield fields + [""] * (width - len(fields)) if len(fields) < width else fields
            line = reader.line_num + 1
    except csv.Error as error:
        raise TableError(f"{_unclosed(path, line)} ({error})") from error


def _unclosed(path: Path, line: int) -> str:
    return (
        f"{path.name}: a quote in the record that begins in line {line} is never closed; "
        "close it, or set source.quoting=none to take quotes as characters"
    )


def _too_wide(path: Path, source: SourceConfig, line: int, found: int, width: int) -> str:
    return (
        f"{path.name}: line {line} has {found} fields, the first has {width}; "
        f"check source.format ({source.format}) and source.quoting ({source.quoting})"
    )


def _place(path: Path, source: SourceConfig, key: Key, first: list[str]) -> int:
    """Return where the column `key` stands in a record, given the first one."""
    if isinstance(key, int):
        if key >= len(first):
            raise no_column(path, source, key, range(len(first)))
        return key
    if first.count(key) > 1:
        raise TableError(
            f"{path.name} has {first.count(key)} columns {key!r}; rename one, or give source.columns as positions"
        )
    if key not in first:
        raise no_column(path, source, key, first)
    return first.index(key)


# --- JSON and JSON Lines


def _read_json(path: Path, source: SourceConfig, keys: Sequence[Key]) -> Iterator[Batch]:
    # Read whole: the standard library has no parser that stops in the middle of a list.
    written = path.read_text(encoding=_codec(source))
    if not written.strip():
        raise _empty(path)
    try:
        content = json.loads(written)
    except json.JSONDecodeError as error:
        hint = "; if it has an object a line, set source.format=jsonl" if error.msg == "Extra data" else ""
        raise TableError(
            f"{path.name} is not JSON: line {error.lineno}, column {error.colno}: {error.msg}{hint}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise TableError(f"{path.name} cannot be read as JSON: {error}") from error
    if not isinstance(content, list):
        raise TableError(f"{path.name} holds {_kind(content)}, not a list of objects; {_advice(content)}")
    yield from _cells(path, source, keys, ((f"record {row}", each) for row, each in enumerate(content, start=1)))


def _advice(content: object) -> str:
    lists = [key for key, value in content.items() if isinstance(value, list)] if isinstance(content, dict) else []
    return f"write the list under {lists[0]!r} to a file of its own" if lists else "write it as [{...}, {...}]"


def _read_json_lines(path: Path, source: SourceConfig, keys: Sequence[Key]) -> Iterator[Batch]:
    with path.open(encoding=_codec(source), newline="\n") as file:
        records = _objects(path, file)
        first = next(records, None)
        if first is None:
            raise _empty(path)
        yield from _cells(path, source, keys, chain([first], records))


def _objects(path: Path, file: TextIO) -> Iterator[tuple[str, object]]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            yield f"line {number}", json.loads(line.rstrip())
        except (ValueError, RecursionError) as error:
            said = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
            hint = "; if the file is one list, set source.format=json" if number == 1 and line.startswith("[") else ""
            raise TableError(f"{path.name}: line {number} is not JSON: {said}; correct or remove it{hint}") from error


def _cells(
    path: Path, source: SourceConfig, keys: Sequence[Key], records: Iterator[tuple[str, object]]
) -> Iterator[Batch]:
    """Yield the values under `keys` in batches; a record may lack a key, but not all may."""
    unseen = set(keys)
    names: dict[object, None] = {}
    while batch := list(islice(records, BATCH)):
        columns = [[_value(path, place, record, str(key)) for place, record in batch] for key in keys]
        unseen -= {key for key, cells in zip(keys, columns, strict=True) if any(cell is not MISSING for cell in cells)}
        names.update((name, None) for _, record in batch[:100] for name in record)  # type: ignore[attr-defined]
        yield [[None if cell is MISSING else cell for cell in cells] for cells in columns]
    for key in keys:
        if key in unseen and names:
            raise no_column(path, source, key, list(names))


def _value(path: Path, place: str, record: object, key: str) -> object:
    if not isinstance(record, dict):
        hint = "; if the file is one list, set source.format=json" if isinstance(record, list) else ""
        raise TableError(f"{path.name}: {place} holds {_kind(record)}, not an object with the columns{hint}")
    value = record.get(key, MISSING)
    if value is not MISSING or "." not in key:
        return value
    inside: Any = record
    for name in key.split("."):
        inside = inside.get(name, MISSING) if isinstance(inside, dict) else MISSING
    return inside


def _kind(value: object) -> str:
    kinds: Iterable[tuple[type, str]] = (
        (dict, "one object"),
        (list, "a list"),
        (str, "a text"),
        (bool, "true or false"),
    )
    return next((name for kind, name in kinds if isinstance(value, kind)), "null" if value is None else "a number")


# --- Parquet


def _read_parquet(path: Path, source: SourceConfig, keys: Sequence[Key]) -> Iterator[Batch]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Page by page, however large the row groups are.
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
            names = [_parquet_name(path, source, key, file.schema_arrow) for key in keys]
            for batch in file.iter_batches(BATCH, columns=names):
                flat = _flat(pa.Table.from_batches([batch]))
                yield [flat[name].to_pylist() for name in names]
    except (pa.ArrowException, OSError) as error:
        if is_archive(path):
            raise TableError(f"{path.name} is an archive; set source.member to the file inside it") from error
        said = " ".join(str(error).split())
        raise TableError(
            f"{path.name} cannot be read as Parquet: {said}; check source.format, or fetch it again"
        ) from error


def _parquet_name(path: Path, source: SourceConfig, key: Key, schema: Any) -> str:
    names = schema.names
    if isinstance(key, int):
        if key >= len(names):
            raise no_column(path, source, key, range(len(names)))
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
        raise no_column(path, source, key, names)
    return str(key)


def _flat(table: Any) -> Any:
    """Return the table with every struct taken apart: the `b` inside `a` is the column `a.b`."""
    import pyarrow as pa

    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    return table
