"""CSV and TSV through Arrow: some fifty times faster than Python's `csv`, as far as both read the same.

They do, wherever quotes stand, on UTF-8 text in which every record has as many fields as the first. Anything else, such
as a shorter record, a blank line with a space in it or a quote that is never closed, is refused.
https://arrow.apache.org/docs/cpp/csv.html
"""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
from pyarrow import csv

BLOCK = 1 << 20
"""Bytes that are parsed at a time; a longer record is refused."""
CLOSING = "\0"
"""Each field of a last record that is put after the file: an open quote, which Arrow would close, swallows it."""


def read_quickly(
    path: Path, separator: str, quoted: bool, width: int, places: Sequence[int], block: int = BLOCK
) -> Iterator[list[pa.Array]]:
    """Yield the fields at these places of all records, the first one's too, a batch at a time; an empty field is null.

    Raises:
        pyarrow.ArrowException: at the first batch in which a record has not `width` fields, which are two or more, or
            cannot be read.
    """
    names = [f"f{place}" for place in places]
    last: pa.RecordBatch | None = None
    with path.open("rb") as file:
        closed = _WithClosing(file, separator.join([CLOSING] * width))
        for batch in _batches(closed, separator, quoted, names, block):
            if not batch.num_rows:
                continue
            if last is not None:
                yield [last[name] for name in names]
            last = batch
    if last is None or any(cell != CLOSING for cell in last.slice(last.num_rows - 1).to_pylist()[0].values()):
        raise pa.ArrowInvalid("the last quote is never closed")
    yield [last[name][:-1] for name in names]


class _WithClosing(io.RawIOBase):
    """A file and one more line."""

    def __init__(self, file: BinaryIO, line: str) -> None:
        self.file, self.rest = file, f"\n{line}\n".encode()

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return at most so many bytes, none at the end."""
        data = self.file.read(size)
        if not data:
            data, self.rest = self.rest, b""
        return data


def _batches(
    file: io.RawIOBase, separator: str, quoted: bool, names: Sequence[str], block: int
) -> Iterator[pa.RecordBatch]:
    with csv.open_csv(
        file,
        csv.ReadOptions(block_size=block, autogenerate_column_names=True),
        csv.ParseOptions(delimiter=separator, quote_char='"' if quoted else False, newlines_in_values=quoted),
        csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            include_columns=list(dict.fromkeys(names)),
            null_values=[""],
            strings_can_be_null=True,
            check_utf8=False,  # that has been done
        ),
    ) as batches:
        yield from batches
