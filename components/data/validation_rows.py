"""The table under validation: read in batches, checked for its types, and parted into what passes and what fails."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from components.core.errors import TableError
from components.data.batches import batches_of, write_batches
from components.data.validation_report import SHOWN

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

Row = TypeVar("Row")


class Source:
    """A Parquet table, read as often as it takes and never whole.

    `columns` are those of the columns asked for that are there.

    Raises:
        TableError: on construction or while it is read, if it is not a Parquet file, or if those columns have other
            types: `row` is of integers, the others are of text.
    """

    def __init__(self, path: Path, columns: Iterable[str]) -> None:
        import pyarrow.parquet as pq

        self.path = path
        with self._reading():
            self._file = pq.ParquetFile(path, pre_buffer=False)
        self.schema: pa.Schema = self._file.schema_arrow
        self.rows: int = self._file.metadata.num_rows
        self.columns = [name for name in columns if name in self.schema.names]
        for name in self.columns:
            if fault := _fault(self.schema, name):
                raise self._wrong(name, fault)

    def batches(self, columns: Sequence[str] | None = None) -> "Iterator[tuple[slice, pa.RecordBatch]]":
        """Yield the rows in batches, each with its positions in the table."""
        done = 0
        with self._reading():
            for batch in batches_of(self._file, columns):
                yield slice(done, done := done + batch.num_rows), batch

    def frames(self) -> "Iterator[pd.DataFrame]":
        """Yield `columns`, at least once; texts of pandas' dtype `str`, and the index is the position."""
        if not self.rows:
            yield _frame(self.schema.empty_table(), self.columns, slice(0, 0))
        for positions, batch in self.batches(self.columns):
            if "row" in self.columns and batch["row"].null_count:
                raise self._wrong("row", f"has {batch['row'].type} values or nulls, not integers only")
            yield _frame(batch, self.columns, positions)

    def counts(self, column: str, kept: "np.ndarray") -> Counter[str]:
        """Count the values of a column in the rows that are kept; there are none of a column that is not there."""
        import pyarrow as pa

        counts: Counter[str] = Counter()
        for positions, batch in self.batches([column]) if column in self.columns else ():
            values = batch[column].cast(pa.string()).filter(pa.array(kept[positions]))
            counts.update({each["values"]: each["counts"] for each in values.value_counts().to_pylist()})
        return counts

    def cells(self, positions: Sequence[int], columns: Sequence[str]) -> list[dict[str, Any]]:
        """Return cells of a few rows, in the table's order, with `row`: their number, or else their place from 1."""
        import pyarrow as pa

        found: list[dict[str, Any]] = []
        wanted = sorted(positions)
        names = [name for name in dict.fromkeys(("row", *columns)) if name in self.columns]
        for part, batch in self.batches(names) if wanted else ():
            here = [place for place in wanted if part.start <= place < part.stop]
            # With its type: of a part without a row an empty list would have none, which Arrow cannot take.
            rows = batch.take(pa.array([place - part.start for place in here], pa.int64())).to_pylist()
            found += [{"row": place + 1} | row for place, row in zip(here, rows, strict=True)]
        return found

    def write(self, kept: "np.ndarray", path: Path) -> None:
        """Write the rows that are kept, with all their columns as they are."""
        import pyarrow as pa

        chosen = (batch.filter(pa.array(kept[positions])) for positions, batch in self.batches())
        write_batches(chosen, self.schema, path)

    def _wrong(self, name: str, fault: str) -> TableError:
        return TableError(f"{self.path}: column {name!r} {fault}; write it as {'int64' if name == 'row' else 'string'}")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        import pyarrow as pa

        try:
            yield
        except (pa.ArrowException, OSError) as error:
            reason = " ".join(str(error).split())
            raise TableError(f"{self.path} cannot be read as a Parquet table: {reason}") from error


def _fault(schema: "pa.Schema", name: str) -> str | None:
    import pyarrow as pa

    if (found := len(schema.get_all_field_indices(name))) > 1:
        return f"is there {found} times"
    kind = schema.field(name).type
    if name == "row":
        return None if pa.types.is_integer(kind) else f"has {kind} values or nulls, not integers only"
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    return None if any(test(value) for test in tests) else f"has {kind} values, not text"


def _frame(batch: "pa.RecordBatch | pa.Table", columns: Iterable[str], positions: slice) -> "pd.DataFrame":
    import pandas as pd
    import pyarrow as pa

    index = pd.RangeIndex(positions.start, positions.stop)
    series = {}
    for name in columns:
        # Texts stay with Arrow, in which Great Expectations hashes and measures them several times as fast.
        values = batch[name].cast(pa.int64() if name == "row" else pa.string()).to_pandas()
        series[name] = pd.Series(values.array, index, dtype="int64" if name == "row" else "str")
    return pd.DataFrame(series, index=index)


class Marks:
    """Which rows of a table fail which expectations, a byte a row."""

    def __init__(self, rows: int, names: Sequence[str]) -> None:
        import numpy as np

        self._bits = np.zeros(rows, np.uint8)
        self._flags = {name: np.uint8(1 << place) for place, name in enumerate(names)}

    def add(self, name: str, positions: Iterable[Any]) -> None:
        """Mark the rows at these positions as failing an expectation."""
        self._bits[list(positions)] |= self._flags[name]

    def failing(self, name: str) -> int:
        """Return how many rows fail an expectation."""
        return int((self._bits & self._flags[name]).astype(bool).sum())

    @property
    def kept(self) -> "np.ndarray":
        """Whether a row meets every expectation (rows)."""
        return self.kept_of(slice(None))

    def kept_of(self, positions: "slice | np.ndarray") -> "np.ndarray":
        """Return the same of some rows."""
        kept: np.ndarray = self._bits[positions] == 0
        return kept

    def reasons(self, positions: slice) -> list[str]:
        """Return for each row the names of the expectations that it fails, joined with `;`."""
        words = [";".join(n for n, flag in self._flags.items() if bits & flag) for bits in range(256)]
        return [words[bits] for bits in self._bits[positions].tolist()]


def write_rejected(
    source: Source, marks: Marks, columns: "pa.Schema", shown_as: Callable[[dict[str, Any]], Row], path: Path
) -> tuple[dict[str, int], list[Row]]:
    """Write the failing rows to Parquet: `columns`, null where the table has no such column, and `reason` string.

    Returns how many there are of each reason, and the first `SHOWN` of each, each made by `shown_as` from its cells.
    """
    import pyarrow as pa

    names = [name for name in columns.names if name in source.schema.names]
    schema = columns.append(pa.field("reason", pa.string()))
    counts: Counter[str] = Counter()
    shown: list[Row] = []

    def failing() -> Iterator[pa.RecordBatch]:
        kept = marks.kept
        for positions, batch in source.batches(names) if not kept.all() else ():
            rows = _rejected(batch, positions, marks.reasons(positions), schema)
            rows = rows.filter(pa.array(~kept[positions]))
            for row, reason in enumerate(rows["reason"].to_pylist()):
                counts[reason] += 1
                if counts[reason] <= SHOWN:
                    shown.append(shown_as({name: rows[name][row].as_py() for name in schema.names}))
            yield rows

    write_batches(failing(), schema, path)
    return dict(counts), shown


def _rejected(batch: "pa.RecordBatch", positions: slice, reasons: list[str], schema: "pa.Schema") -> "pa.RecordBatch":
    """Return the rows of a batch with their reasons; a table without row numbers is numbered by place."""
    import pyarrow as pa

    columns = {name: batch[name] for name in batch.schema.names} | {"reason": reasons}
    columns.setdefault("row", range(positions.start + 1, positions.stop + 1))
    empty = [None] * batch.num_rows
    arrays = [columns.get(field.name, empty) for field in schema]
    cast = [
        each.cast(field.type) if isinstance(each, pa.Array) else pa.array(each, field.type)
        for each, field in zip(arrays, schema, strict=True)
    ]
    return pa.record_batch(cast, schema=schema)
