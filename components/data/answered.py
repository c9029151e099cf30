"""Tables that are written row by row, in the format that the file's name says, and are complete or absent."""

import csv
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, time
from glob import escape
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from components.core.errors import ConfigError
from components.data.formats.dialect import SEPARATORS, SUFFIXES

Write = Callable[[Mapping[str, Any]], None]
"""Takes some rows: the cells of each column of the schema."""


def check_output(path: Path, read: Path | None) -> None:
    """Raise ConfigError if a table cannot be written to `path`, as far as that can be known beforehand."""
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"--output {path}: its name says no format; it ends in {', '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise ConfigError(f"--output {path}: there is no folder {path.parent}")
    if path.is_dir():
        raise ConfigError(f"--output {path} is a folder; name a file in it")
    if read is not None and path.exists() and path.samefile(read):
        raise ConfigError(f"--output {path} is the file that is read; name another")


@contextmanager
def open_output(path: Path, schema: pa.Schema) -> Iterator[Write]:
    """Give what writes rows to a file; it stands beside its place, and takes it when all is written.

    Raises:
        ConfigError: if the file cannot be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}{path.suffix}")
    open_format = _parquet if SUFFIXES[path.suffix.lower()] == "parquet" else _text
    try:
        with open_format(draft, schema) as write:
            yield write
        draft.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        draft.unlink(missing_ok=True)


def sweep_drafts(path: Path) -> None:
    """Delete what calls left beside a table that were killed while they wrote it; no other one writes it now."""
    for draft in path.parent.glob(f".{escape(path.name)}.[0-9]*{escape(path.suffix)}"):
        draft.unlink(missing_ok=True)


def values(cells: Any) -> Sequence[object]:
    """Return the cells of a column as Python's own values."""
    listed: Sequence[object] = cells.to_pylist() if hasattr(cells, "to_pylist") else cells
    return listed


def plain(value: object) -> object:
    """Return what JSON has instead of a value that it does not have."""
    if isinstance(value, float) and value - value != 0:  # not a number, or infinite
        return None
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    if value is None or isinstance(value, str | int | float):
        return value
    return value.isoformat() if isinstance(value, date | time) else str(value)


def as_json(value: object) -> str:
    """Return a value as JSON."""
    return json.dumps(plain(value), ensure_ascii=False)


def as_cell(value: object) -> str:
    """Return a value as a field of a delimited file; a missing one is empty."""
    value = plain(value)
    return value if isinstance(value, str) else "" if value is None else as_json(value)


def rows_of(columns: Mapping[str, Any]) -> Iterator[dict[str, object]]:
    """Yield rows as objects."""
    for row in zip(*map(values, columns.values()), strict=True):
        yield dict(zip(columns, row, strict=True))


@contextmanager
def _text(path: Path, schema: pa.Schema) -> Iterator[Write]:
    """Write a delimited file, JSON Lines or JSON."""
    kind = SUFFIXES[path.suffix.lower()]
    # Half a character, which JSON may hold as an escape, has none in UTF-8: it is written as that escape.
    with path.open("x", encoding="utf-8", newline="", errors="backslashreplace") as file:
        options: dict[str, Any] = {"delimiter": SEPARATORS.get(kind, ","), "lineterminator": "\n"}
        writer, quoting = csv.writer(file, **options), csv.writer(file, quoting=csv.QUOTE_ALL, **options)
        before, between, after = ("[\n", ",\n", "\n]\n") if kind == "json" else ("", "\n", "\n")
        written = False

        def write_rows(columns: Mapping[str, Any]) -> None:
            for row in zip(*map(values, columns.values()), strict=True):
                fields = [as_cell(value) for value in row]
                # Python's writer does not quote the line ends of others.
                (quoting if any("\r" in field for field in fields) else writer).writerow(fields)

        def write_objects(columns: Mapping[str, Any]) -> None:
            nonlocal written
            for row in rows_of(columns):
                file.write(f"{between if written else before}{as_json(row)}")
                written = True

        if kind in SEPARATORS:
            writer.writerow(schema.names)
            yield write_rows
        else:
            yield write_objects
            file.write(after if written else "[]\n" if kind == "json" else "")


@contextmanager
def _parquet(path: Path, schema: pa.Schema) -> Iterator[Write]:
    with pq.ParquetWriter(path, schema) as writer:
        yield lambda columns: writer.write_table(
            pa.Table.from_arrays([_array(columns[field.name], field.type) for field in schema], schema=schema)
        )


def _array(cells: Any, kind: pa.DataType) -> pa.Array:
    if isinstance(cells, pa.Array):
        return cells.cast(kind)
    if pa.types.is_string(kind):
        cells = [None if plain(cell) is None else cell if isinstance(cell, str) else as_json(cell) for cell in cells]
    return pa.array(cells, kind)


def merged(one: pa.DataType | None, cells: Any) -> pa.DataType:
    """Return a type for a column that has had the type `one` so far, given more of its cells.

    What has no type in common is text: that of JSON, but for what is text already.
    """
    try:
        other = pa.array(values(cells)).type
    except (pa.ArrowException, UnicodeEncodeError, OverflowError):
        return pa.string()
    if one is None or pa.types.is_null(one) or one.equals(other):
        return other
    if pa.types.is_null(other):
        return one
    numbers = all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in (one, other))
    return pa.float64() if numbers else pa.string()
