"""Parquet tables a batch at a time, so that memory does not grow with the number of rows."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 100_000
BYTES = 1 << 26
"""How many rows, and roughly how many bytes of them, are in memory at a time."""


def schema(columns: Iterable[str]) -> pa.Schema:
    """Return the declared Arrow schema of a table: `row` int64, and the other columns string."""
    return pa.schema([("row", pa.int64()), *((name, pa.string()) for name in columns)])


def write_batches(batches: Iterable[pa.RecordBatch], schema: pa.Schema, path: Path) -> int:
    """Write batches to a Parquet file with this schema, and return the number of rows."""
    rows, group = 0, []
    # Steps read one another's tables several times, which takes a third of the time that it takes with the default.
    with pq.ParquetWriter(path, schema, compression="lz4") as writer:
        for batch in chain(batches, [None]):
            group += [] if batch is None else [batch]
            # Gathered into row groups: many small ones would be slow to read.
            size = sum(each.num_rows for each in group), sum(each.nbytes for each in group)
            if group and (batch is None or size[0] >= ROWS or size[1] >= BYTES):
                writer.write_table(pa.Table.from_batches(group, schema))
                rows, group = rows + size[0], []
    return rows


def rows_at_a_time(file: pq.ParquetFile) -> int:
    """Return how many rows of a Parquet file to hold in memory: at most `ROWS`, fewer where they are long."""
    groups = range(file.metadata.num_row_groups)
    size = sum(file.metadata.row_group(group).total_byte_size for group in groups)
    each = max(1, size // max(1, file.metadata.num_rows))
    return max(1, min(ROWS, BYTES // int(each)))


def batches_of(
    file: pq.ParquetFile, columns: Sequence[str] | None = None, most: int = ROWS
) -> Iterator[pa.RecordBatch]:
    """Yield a Parquet file's rows in batches of at most `most`, and no more than `rows_at_a_time`."""
    yield from file.iter_batches(min(most, rows_at_a_time(file)), columns=columns)


def hashed(texts: np.ndarray) -> np.ndarray:
    """Return 64 bits of every text (an object array): equal texts have equal ones, and the same in every process.

    That two different texts among a million share them has a chance of one in 37 million; among ten million, one in
    370,000.
    """
    return pd.util.hash_array(texts, categorize=False)


def mixed(hashes: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return a hash of each hash with its number, uint64; that of number 0 is the hash itself."""
    found: np.ndarray = hashes + numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return found
