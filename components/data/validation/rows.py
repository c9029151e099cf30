"""The table under validation: read in batches, checked for its types, and parted into what passes and what fails."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.dataset import dataset

from components.core.errors import TableError
from components.data.batches import batches_of, schema, write_batches
from components.data.split.given_splits import SPLIT
from components.data.validation.report import SHOWN, Cell, FailingRow

ROWS_NAMED = 10
NO_ROW = " or nulls, not integers only"


class Source:
    """A Parquet table, read as often as it takes and never whole.

    `columns` are those of the columns asked for that are there; of `others` any type will do.

    Raises:
        TableError: on construction or while it is read, if it is not a Parquet file, or if those columns have other
            types: `row` is of integers, the others are of text.
    """

    def __init__(self, path: Path, columns: Iterable[str], others: Iterable[str] = ()) -> None:
        self.path = path
        with self._reading():
            self._file = pq.ParquetFile(path, pre_buffer=False)
        self.schema: pa.Schema = self._file.schema_arrow
        self.rows: int = self._file.metadata.num_rows
        self.columns = [name for name in columns if name in self.schema.names]
        for name in self.columns:
            kinds = [field.type for field in self.schema if field.name == name]
            if len(kinds) > 1:
                raise self._wrong(name, f"is there {len(kinds)} times")
            if not (pa.types.is_integer if name == "row" else _is_text)(kinds[0]):
                raise self._wrong(name, f"has {kinds[0]} values{NO_ROW if name == 'row' else ', not text'}")
        self.columns += [name for name in others if name in self.schema.names and name not in self.columns]

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[tuple[slice, pa.RecordBatch]]:
        """Yield the rows in batches, each with its positions in the table."""
        done = 0
        with self._reading():
            for batch in batches_of(self._file, columns):
                yield slice(done, done := done + batch.num_rows), batch

    def frames(self) -> Iterator[pd.DataFrame]:
        """Yield `columns`, at least once; texts of pandas' dtype `str`, and the index is the position."""
        if not self.rows:
            yield frame_of(self.schema.empty_table(), self.columns, slice(0, 0))
        for positions, batch in self.batches(self.columns):
            if "row" in self.columns and batch["row"].null_count:
                raise self._wrong("row", f"has {batch['row'].type} values{NO_ROW}")
            yield frame_of(batch, self.columns, positions)

    def counts(self, column: str, chosen: np.ndarray) -> Counter[str | None]:
        """Count the values of a column in the rows that are chosen; there are none of a column that is not there."""
        counts: Counter[str | None] = Counter()
        for positions, batch in self.batches([column]) if column in self.columns else ():
            values = batch[column].cast(pa.string()).filter(pa.array(chosen[positions]))
            counts.update({each["values"]: each["counts"] for each in values.value_counts().to_pylist()})
        return counts

    def cells(self, positions: Iterable[int], columns: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Return `row` (the place from 1, where there is no such column) and further columns of some rows, in order."""
        wanted = sorted(positions)
        names = [name for name in dict.fromkeys(("row", *columns)) if name in self.columns]
        with self._reading():
            table = dataset(self.path, format="parquet").take(pa.array(wanted, pa.int64()), columns=names)
        rows = table.to_pylist() or [{}] * len(wanted)
        return [{"row": place + 1} | row for place, row in zip(wanted, rows, strict=True)]

    def row_numbers(self, positions: np.ndarray) -> str:
        """Return the numbers of some rows, as many as a sentence has room for."""
        numbers = [f"{cells['row']:,}" for cells in self.cells(positions[:ROWS_NAMED].tolist())]
        return ", ".join(numbers + ["..."] * (len(positions) > ROWS_NAMED))

    def write(self, kept: np.ndarray, path: Path) -> None:
        """Write the rows that are kept, with all their columns as they are."""
        chosen = (batch.filter(pa.array(kept[positions])) for positions, batch in self.batches())
        write_batches(chosen, self.schema, path)

    def _wrong(self, name: str, fault: str) -> TableError:
        return TableError(f"{self.path}: column {name!r} {fault}; write it as {'int64' if name == 'row' else 'string'}")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            reason = " ".join(str(error).split())
            raise TableError(f"{self.path} cannot be read as a Parquet table: {reason}") from error


def _is_text(kind: pa.DataType) -> bool:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    return any(test(value) for test in tests)


def frame_of(batch: pa.RecordBatch | pa.Table, columns: Sequence[str], positions: slice) -> pd.DataFrame:
    """Return columns of a batch, indexed by position; texts are of pandas' dtype `str`."""
    batch = batch.select(list(columns))
    fields = [field.with_type(pa.string()) if _is_text(field.type) else field for field in batch.schema]
    # Texts stay with Arrow, in which Great Expectations hashes and measures them several times as fast.
    frame: pd.DataFrame = batch.cast(pa.schema(fields)).to_pandas(ignore_metadata=True)
    frame.index = pd.RangeIndex(positions.start, positions.stop)
    return frame


class Marks:
    """Which rows of a table fail which expectations: a byte a row for each of them that some row fails."""

    def __init__(self, rows: int, names: Sequence[str]) -> None:
        self._none, self._names = np.zeros(rows, bool), names
        self._failing: dict[str, np.ndarray] = {}

    def add(self, name: str, positions: Iterable[Any]) -> None:
        """Mark the rows at these positions as failing an expectation."""
        if places := list(positions):
            if name not in self._failing:
                self._failing[name] = self._none.copy()
            self._failing[name][places] = True

    def clear(self, name: str) -> None:
        """Mark no row as failing an expectation any more."""
        self._failing.pop(name, None)

    def mask(self, name: str) -> np.ndarray:
        """Return whether a row fails an expectation (rows)."""
        return self._failing.get(name, self._none)

    @property
    def kept(self) -> np.ndarray:
        """Whether a row meets every expectation (rows)."""
        kept: np.ndarray = ~reduce(np.logical_or, self._failing.values(), self._none)
        return kept

    def reasons(self, places: np.ndarray) -> list[str]:
        """Return for each of these rows the names of the expectations that it fails, joined with `;`."""
        names = [name for name in self._names if name in self._failing]
        rows = zip(*(self._failing[name][places].tolist() for name in names), strict=True)
        return [";".join(compress(names, row)) for row in rows]


def write_rejected(
    source: Source, marks: Marks, texts: Sequence[str], shown: Sequence[Cell], path: Path
) -> tuple[dict[str, int], list[FailingRow]]:
    """Write the failing rows to Parquet, with `reason` (string) as their last column.

    The columns are `row` (the place from 1, where there is none), `texts` (null where the table has no such column),
    and those that the table has besides. Returns how many there are of each reason, and the first `SHOWN` of each with
    the texts of `shown`.
    """
    declared = schema(texts)
    names = [name for name in source.schema.names if name != "reason"]
    others = [source.schema.field(name) for name in names if name not in declared.names]
    columns = pa.schema([*declared, *others, ("reason", pa.string())])
    counts: Counter[str] = Counter()
    failing: list[FailingRow] = []

    def rejected() -> Iterator[pa.RecordBatch]:
        kept = marks.kept
        for positions, batch in source.batches(names) if not kept.all() else ():
            places = np.flatnonzero(~kept[positions])
            found = batch.take(pa.array(places))
            places += positions.start
            cells = {name: found[name] for name in names} | {"reason": pa.array(marks.reasons(places), pa.string())}
            cells.setdefault("row", pa.array(places + 1))
            empty = pa.nulls(len(places))
            arrays = [cells.get(field.name, empty).cast(field.type) for field in columns]
            rows = pa.record_batch(arrays, schema=columns)
            for place, reason in enumerate(rows["reason"].to_pylist()):
                counts[reason] += 1
                if counts[reason] <= SHOWN:
                    row = rows.slice(place, 1).to_pylist()[0]
                    # A row is of no split where the source gives none.
                    texts = [cell._replace(text=row.get(cell.name)) for cell in shown]
                    shown_cells = [cell for cell in texts if cell.name != SPLIT or cell.text]
                    failing.append(FailingRow(row["row"], shown_cells, reason))
            yield rows

    write_batches(rejected(), columns, path)
    return dict(counts), failing
