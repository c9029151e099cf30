"""A table's rows written in another order, without the table in memory: dealt to runs first, then run by run."""

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.data.batches import batches_of, rows_at_a_time, write_batches

PLACE = "place"


def write_in_order(
    table: Path, orders: Mapping[Path, np.ndarray], columns: pa.Schema, rows_per_run: int | None = None
) -> None:
    """Write to each path of `orders` the table's rows at these positions (from 0), in this order.

    They have those of `columns` that the table has.

    A position may occur once in all of them. Rows that end up near one another are dealt to one run, on disk beside the
    first path, and each run is put in order when it is read back: everything is read from front to back, and no more
    than about `rows_per_run` rows are in memory (by default what `components.data.batches` allows).
    """
    with (
        pq.ParquetFile(table, pre_buffer=False) as file,
        tempfile.TemporaryDirectory(dir=next(iter(orders)).parent) as folder,
    ):
        most = rows_per_run or rows_at_a_time(file)
        place = np.full(file.metadata.num_rows, -1, np.int64)
        place[np.concatenate(list(orders.values()))] = np.arange(sum(map(len, orders.values())))
        kept = pa.schema([field for field in columns if field.name in file.schema_arrow.names])
        # Where each run begins: none is longer than `most`, or belongs to two files.
        ends = np.cumsum([0, *map(len, orders.values())])
        starts = np.concatenate([np.arange(start, end, most) for start, end in pairwise(ends)])
        runs = [Path(folder, str(number)) for number in range(len(starts))]
        _deal(file, kept, place, starts, runs)
        waiting = iter(runs)
        for path, order in orders.items():
            own = [next(waiting) for _ in range(0, len(order), most)]
            write_batches(map(_in_order, own), kept, path)


def _deal(file: pq.ParquetFile, kept: pa.Schema, place: np.ndarray, starts: np.ndarray, runs: Sequence[Path]) -> None:
    """Write the rows of each run, with their place in the new order, to its file."""
    dealt, done = kept.append(pa.field(PLACE, pa.int64())), 0
    with ExitStack() as stack:
        writers = [stack.enter_context(pa.ipc.new_stream(str(path), dealt)) for path in runs]
        for batch in batches_of(file, kept.names):
            places = place[done : done + batch.num_rows]
            done += batch.num_rows
            rows = batch.select(kept.names).cast(kept).append_column(PLACE, pa.array(places))
            # The rows of each run; those without a place come before all of them.
            order = np.argsort(places)
            chosen_of_run = np.split(order, np.searchsorted(places[order], starts))[1:]
            for writer, chosen in zip(writers, chosen_of_run, strict=True):
                if len(chosen):
                    writer.write_batch(rows.take(chosen).cast(dealt))


def _in_order(run: Path) -> pa.RecordBatch:
    """Return the rows of a run in the new order."""
    with pa.OSFile(str(run)) as file, pa.ipc.open_stream(file) as stream:
        rows = stream.read_all()
    rows = rows.take(np.argsort(rows[PLACE].to_numpy())).drop_columns([PLACE])
    return rows.combine_chunks().to_batches()[0]
