"""A raw file as a table: of texts and labels, or of instructions with inputs and responses."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from components.core.errors import TableError
from components.core.templates import Template
from components.data.answered import values
from components.data.batches import schema
from components.data.columns import Key, as_text, is_template
from components.data.formats.readers import read_records
from components.data.formats.reading import Seen
from components.data.sources import FileSource, InstructionSourceConfig
from components.data.turns import advice_of, as_entries

Texts = Sequence[str | None]
"""A column's texts, also as an Arrow array of them; None, or null, is a missing one."""


def read_batches(path: Path, source: FileSource, seen: Seen | None = None) -> Iterator[pa.RecordBatch]:
    """Yield the records of a raw file; `seen` takes notes of the file.

    The columns are `row` (int64: the record's number in the file from 1, blank lines and header not counted), and those
    of the source, of strings. An empty field of a delimited file is null, and so is what a JSON object lacks; an input
    that is null is empty. The words `NA`, `null` and `None` are text like any other. A number is written as text, 1.0
    as 1.

    Raises:
        TableError: if the file cannot be read in the declared format.
        DataRejected: if it lacks a column that `source.columns` names.
    """
    keys = source.read_columns()
    done = 0
    for cells in read_records(path, source, keys, seen):
        batch = batch_of(path, source, dict(zip(keys, cells, strict=True)), done)
        yield batch
        done += batch.num_rows


def read_limited(path: Path, source: FileSource, seen: Seen) -> Iterator[pa.RecordBatch]:
    """Yield records as `read_batches`, of all rows those that `source.limit` leaves.

    These are spread evenly, since a file may be sorted by its labels: its first rows would all be of one.
    """
    if source.limit is None:
        yield from read_batches(path, source, seen)
        return
    rows = 0
    for batch in read_batches(path, source):
        rows += batch.num_rows
        seen.last = batch["row"][-1].as_py() if batch.num_rows else seen.last
    kept = min(source.limit, rows)
    places, done = np.arange(kept) * rows // max(kept, 1), 0
    seen.notes.append(f"{path.name}: {kept:,} of {rows:,} rows are used, spread evenly (source.limit)")
    for batch in read_batches(path, source, seen):
        here = places[(places >= done) & (places < done + batch.num_rows)]
        yield batch.take(pa.array(here - done))
        done += batch.num_rows


def batch_of(path: Path, source: FileSource, cells: Mapping[Key, Sequence[object]], done: int) -> pa.RecordBatch:
    """Return some records as `read_batches` yields them, given the cells of what they are made of.

    `done` is the number of records that came before them.
    """
    turns = {key for field in source.turn_fields for key in source.fields_of(field)}
    texts = {key: _texts(path, key, cells[key], done) for key in source.read_columns() if key not in turns}
    count = len(next(iter(cells.values())))
    columns: dict[str, Sequence[object]] = {"row": range(done + 1, done + count + 1)}
    for field in source.text_fields:
        column, keys = source.columns.get(field), source.fields_of(field)
        found: Texts = texts[column] if column in texts else [None] * count
        if column is not None and is_template(column):
            found = Template.of(str(column)).fill([_listed(texts[key]) for key in keys])
        columns[field] = source.normalize(field, _listed(found)) if field in source.normalized else found
    if isinstance(source, InstructionSourceConfig) and source.has_turns:
        raw = {field: values(cells[key]) for field in source.turn_fields for key in source.fields_of(field)}
        columns |= as_entries(path, source, {name: values(column) for name, column in columns.items()} | raw, done)
    table = schema(source.table_columns)
    return pa.record_batch([_array(path, columns[field.name], field.type, done) for field in table], schema=table)


def _texts(path: Path, key: Key, cells: Sequence[object] | pa.StringArray, done: int) -> Texts:
    if isinstance(cells, pa.Array):
        read: Texts = cells
        return read
    texts: list[str | None] = []
    try:
        for cell in cells:
            texts.append(cell if cell.__class__ is str else as_text(cell))
    except ValueError as error:
        record = done + len(texts) + 1
        advice = advice_of(cells[len(texts)], key) or "name another column, or a value inside it"
        raise TableError(f"{path.name}: column {key!r} of record {record} holds {error}; {advice}") from error
    return texts


def _listed(texts: Texts) -> Sequence[str | None]:
    return texts.to_numpy(zero_copy_only=False).tolist() if isinstance(texts, pa.Array) else texts


def _array(path: Path, values: Sequence[object], kind: pa.DataType, done: int) -> pa.Array:
    if isinstance(values, pa.Array):
        return values
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError as error:
        halves = (row for row, text in enumerate(values) if re.search("[\ud800-\udfff]", str(text or "")))
        raise TableError(
            f"{path.name}: record {done + 1 + next(halves)} has a \\u escape that is half a character (a lone "
            "surrogate); correct it"
        ) from error
