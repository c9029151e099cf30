"""The table under validation: read in batches, checked for its types, and parted into what passes and what fails."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.errors import TableError
from components.data.batches import batches_of, schema, write_batches
from components.data.split.given_splits import SPLIT
from components.data.validation.findings import Cell
from components.data.validation.report import SHOWN, FailingRow

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa


class Source:
    """A Parquet table, read as often as it takes and never whole.

    `columns` are those of the columns asked for that are there; of `others` any type will do.

    Raises:
        TableError: on construction or while it is read, if it is not a Parquet file, or if those columns have other
            types: `row` is of integers, the others are of text.
    """

    def __init__(self, path: Path, columns: Iterable[str], others: Iterable[str] = ()) -> None:
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
        self.columns += [name for name in others if name in self.schema.names and name not in self.columns]

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

    def whole(self, columns: Sequence[str], kept: "np.ndarray", most: int) -> "pd.DataFrame | None":
        """Return columns of the rows that are kept, indexed by position; None if they are above `most` bytes."""
        import pandas as pd

        frames, size = [], 0
        for positions, batch in self.batches(list(columns)):
            if (size := size + batch.nbytes) > most:
                return None
            frames.append(_frame(batch, columns, positions)[kept[positions]])
        return pd.concat(frames)

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
    return None if _is_text(kind) else f"has {kind} values, not text"


def _is_text(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    return any(test(value) for test in tests)


def _frame(batch: "pa.RecordBatch | pa.Table", columns: Iterable[str], positions: slice) -> "pd.DataFrame":
    import pandas as pd
    import pyarrow as pa

    index = pd.RangeIndex(positions.start, positions.stop)
    series = {}
    for name in columns:
        # Texts stay with Arrow, in which Great Expectations hashes and measures them several times as fast.
        column = batch[name].cast(pa.string()) if _is_text(batch[name].type) else batch[name]
        values = column.to_pandas()
        series[name] = pd.Series(values.array, index, dtype="str" if _is_text(column.type) else None)
    return pd.DataFrame(series, index=index)


class Marks:
    """Which rows of a table fail which expectations, a bit each: a byte a row for up to eight of them."""

    def __init__(self, rows: int, names: Sequence[str]) -> None:
        import numpy as np

        self._bits = np.zeros(rows, np.min_scalar_type((1 << len(names)) - 1))
        self._flags = {name: self._bits.dtype.type(1 << place) for place, name in enumerate(names)}

    def add(self, name: str, positions: Iterable[Any]) -> None:
        """Mark the rows at these positions as failing an expectation."""
        self._bits[list(positions)] |= self._flags[name]

    def clear(self, name: str) -> int:
        """Mark no row as failing an expectation any more, and return how many rows now fail it: none."""
        self._bits &= ~self._flags[name]
        return 0

    def failing(self, name: str) -> int:
        """Return how many rows fail an expectation."""
        return int((self._bits & self._flags[name]).astype(bool).sum())

    @property
    def kept(self) -> "np.ndarray":
        """Whether a row meets every expectation (rows)."""
        kept: np.ndarray = self._bits == 0
        return kept

    def reasons(self, positions: slice) -> list[str]:
        """Return for each row the names of the expectations that it fails, joined with `;`."""
        bits = self._bits[positions].tolist()
        words = {each: ";".join(name for name, flag in self._flags.items() if each & int(flag)) for each in set(bits)}
        return [words[each] for each in bits]


def write_rejected(
    source: Source, marks: Marks, texts: Sequence[str], shown: Sequence[Cell], path: Path
) -> tuple[dict[str, int], list[FailingRow]]:
    """Write the failing rows to Parquet, with `reason` (string) as their last column.

    The columns are `row`, `texts` (null where the table has no such column), and those that the table has besides.
    Returns how many there are of each reason, and the first `SHOWN` of each with the texts of `shown`.
    """
    import pyarrow as pa

    declared = schema(texts)
    names = [name for name in source.schema.names if name != "reason"]
    others = [source.schema.field(name) for name in names if name not in declared.names]
    columns = pa.schema([*declared, *others, ("reason", pa.string())])
    counts: Counter[str] = Counter()
    failing: list[FailingRow] = []

    def rejected() -> Iterator[pa.RecordBatch]:
        kept = marks.kept
        for positions, batch in source.batches(names) if not kept.all() else ():
            rows = _rejected(batch, positions, marks.reasons(positions), columns).filter(pa.array(~kept[positions]))
            for place, reason in enumerate(rows["reason"].to_pylist()):
                counts[reason] += 1
                if counts[reason] <= SHOWN:
                    failing.append(_shown(rows.slice(place, 1).to_pylist()[0], shown))
            yield rows

    write_batches(rejected(), columns, path)
    return dict(counts), failing


def _shown(row: dict[str, Any], shown: Sequence[Cell]) -> FailingRow:
    # A row is of no split where the source gives none.
    cells = [cell._replace(text=row.get(cell.name)) for cell in shown if cell.name != SPLIT or row.get(SPLIT)]
    return FailingRow(row["row"], cells, row["reason"])


def _rejected(batch: "pa.RecordBatch", positions: slice, reasons: list[str], columns: "pa.Schema") -> "pa.RecordBatch":
    """Return the rows of a batch with their reasons; a table without row numbers is numbered by place."""
    import pyarrow as pa

    cells = {name: batch[name] for name in batch.schema.names} | {"reason": pa.array(reasons, pa.string())}
    cells.setdefault("row", pa.array(range(positions.start + 1, positions.stop + 1)))
    empty = pa.nulls(batch.num_rows)
    return pa.record_batch([cells.get(field.name, empty).cast(field.type) for field in columns], schema=columns)
