"""A table's rows written in another order, without the table in memory: dealt to runs first, then run by run."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.data.batches import batches_of, rows_at_a_time, schema, write_batches

PLACE = "place"


class Run:
    """Rows that stand next to each other in the new order: in memory, or in a file at `path`."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._batches: list[pa.RecordBatch] = []
        self._writer: pa.RecordBatchStreamWriter | None = None

    def add(self, batch: pa.RecordBatch) -> None:
        """Add rows, with their place in the new order."""
        if self.path is None:
            self._batches.append(batch)
            return
        self._writer = self._writer or pa.ipc.new_stream(str(self.path), batch.schema)
        self._writer.write_batch(batch)

    def close(self) -> None:
        """Finish the file, if there is one."""
        if self._writer:
            self._writer.close()

    def in_order(self) -> pa.RecordBatch:
        """Return the rows in the new order."""
        if self.path is None:
            rows = pa.Table.from_batches(self._batches)
        else:
            with pa.OSFile(str(self.path)) as file, pa.ipc.open_stream(file) as stream:
                rows = stream.read_all()
        rows = rows.take(np.argsort(rows[PLACE].to_numpy())).drop_columns([PLACE])
        return rows.combine_chunks().to_batches()[0]


def write_in_order(
    table: Path, orders: Mapping[Path, np.ndarray], rows_per_run: int | None = None, columns: pa.Schema | None = None
) -> None:
    """Write to each path of `orders` the table's rows at these positions (from 0), in this order.

    They have those of `columns` that the table has (by default those of a classification table).

    A position may occur once in all of them. Rows that end up near one another are dealt to one run, on disk beside the
    first path if there is more than one a file, and each run is put in order when it is read back: everything is read
    from front to back, and no more than about `rows_per_run` rows are in memory (by default what
    `components.data.batches` allows).
    """
    with (
        pq.ParquetFile(table, pre_buffer=False) as file,
        tempfile.TemporaryDirectory(dir=next(iter(orders)).parent) as folder,
    ):
        most = rows_per_run or rows_at_a_time(file)
        place = np.full(file.metadata.num_rows, -1, np.int64)
        place[np.concatenate(list(orders.values()))] = np.arange(sum(map(len, orders.values())))
        starts = _starts(orders, most)
        spilled = len(starts) > len(orders)
        runs = [Run(Path(folder, str(number)) if spilled else None) for number in range(len(starts))]
        kept = pa.schema([field for field in columns or schema() if field.name in file.schema_arrow.names])
        _deal(batches_of(file, kept.names), kept, place, starts, runs)
        waiting = iter(runs)
        for path, order in orders.items():
            own = [next(waiting) for _ in range(0, len(order), most)]
            write_batches((run.in_order() for run in own), kept, path)


def _starts(orders: Mapping[Path, np.ndarray], most: int) -> np.ndarray:
    """Return the place at which each run begins: no run is longer than `most`, or belongs to two files."""
    ends = np.cumsum([0, *map(len, orders.values())])
    return np.concatenate([np.arange(start, end, most) for start, end in pairwise(ends)])


def _deal(
    batches: Iterable[pa.RecordBatch], kept: pa.Schema, place: np.ndarray, starts: np.ndarray, runs: list[Run]
) -> None:
    done = 0
    for batch in batches:
        places = place[done : done + batch.num_rows]
        done += batch.num_rows
        for number, chosen in _by_run(places, starts):
            cast = [batch[field.name].take(chosen).cast(field.type) for field in kept]
            runs[number].add(pa.record_batch([*cast, pa.array(places[chosen])], names=[*kept.names, PLACE]))
    for run in runs:
        run.close()


def _by_run(places: np.ndarray, starts: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each run's number with the rows of the batch that belong to it; those without a place belong to none."""
    order = np.argsort(places)
    for number, chosen in enumerate(np.split(order, np.searchsorted(places[order], starts))[1:]):
        if len(chosen):
            yield number, chosen
