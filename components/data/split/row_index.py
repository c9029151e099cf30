"""What a split needs to know of every row, in 21 bytes each: hashes of its text, its label's or task's number."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.core.errors import ConfigError
from components.data.batches import batches_of, hashed
from components.data.split.folding import joined, squeeze
from components.data.split.given_splits import SPLIT, split_numbers
from components.data.split.quick_folding import fold_all

BATCH = 1 << 14


@dataclass(frozen=True)
class RowIndex:
    """The rows of a table, by position."""

    exact: np.ndarray
    """uint64 (rows): equal for equal texts."""
    folded: np.ndarray
    """uint64 (rows): equal for near duplicates (`components.data.split.folding`)."""
    labels: np.ndarray
    """int32 (rows): position of the label in `names`."""
    names: list[str]
    """The declared labels in their order, then those that turned up besides."""
    folds: str
    """What texts differ in that are folded to the same, in words."""
    given: np.ndarray | None = None
    """int8 (rows): position in `SPLITS` of the split that the source puts the row into, if it does."""

    def __len__(self) -> int:
        return len(self.labels)


def index_rows(table: Path, labels: list[str]) -> RowIndex:
    """Read a Parquet table's texts and labels, a batch at a time.

    Raises:
        ConfigError: if it lacks one of the two columns.
    """
    with pq.ParquetFile(table, pre_buffer=False) as file:
        _require(file, ["text", "label"])
        folds = "texts that differ only in digits, case or white space"
        return _index(file, ["text"], "label", labels, lambda texts: texts, fold_all, folds)


def index_instructions(table: Path) -> RowIndex:
    """Read a Parquet table's instructions with their inputs, and tasks if it has them, a batch at a time.

    `labels` are the tasks: one for all rows if there is no such column, and one for the rows whose task is null.

    Raises:
        ConfigError: if it lacks instructions or inputs.
    """
    with pq.ParquetFile(table, pre_buffer=False) as file:
        _require(file, ["instruction", "input"])
        task = "task" if "task" in file.schema_arrow.names else None
        folds = "entries that differ only in case or white space"
        return _index(file, ["instruction", "input"], task, [], joined, _squeeze_all, folds)


def _require(file: pq.ParquetFile, columns: Sequence[str]) -> None:
    if missing := set(columns) - set(file.schema_arrow.names):
        raise ConfigError(f"the table has no column {' and '.join(sorted(missing))}; check source.columns")


def _index(
    file: pq.ParquetFile,
    columns: Sequence[str],
    label: str | None,
    labels: Sequence[str],
    join: Callable[..., np.ndarray],
    folding: Callable[[pa.Array], np.ndarray],
    folds: str,
) -> RowIndex:
    """Index rows whose text is what `join` makes of some columns."""
    rows = file.metadata.num_rows
    exact, folded = np.empty(rows, np.uint64), np.empty(rows, np.uint64)
    codes, numbers = np.zeros(rows, np.int32), {name: number for number, name in enumerate(labels)}
    given = np.zeros(rows, np.int8) if SPLIT in file.schema_arrow.names else None
    done = 0
    read = [*columns, *([label] if label else []), *([] if given is None else [SPLIT])]
    for batch in batches_of(file, read, BATCH):
        part = slice(done, done := done + batch.num_rows)
        cells = [batch[name].cast(pa.string()) for name in columns]
        exact[part] = hashed(join(*(texts.to_numpy(zero_copy_only=False) for texts in cells)))
        folded[part] = hashed(join(*map(folding, cells)))
        if label:
            codes[part] = _codes(batch[label], numbers)
        if given is not None:
            given[part] = split_numbers(batch[SPLIT])
    return RowIndex(exact, folded, codes, list(numbers), folds, given)


def _squeeze_all(texts: pa.Array) -> np.ndarray:
    return np.array([squeeze(text or "") for text in texts.to_pylist()], object)


def _codes(labels: pa.Array, numbers: dict[str, int]) -> np.ndarray:
    """Return the labels' numbers, giving new labels the next ones."""
    encoded = labels.cast(pa.string()).dictionary_encode(null_encoding="encode")
    found = [numbers.setdefault(label, len(numbers)) for label in encoded.dictionary.to_pylist()]
    codes: np.ndarray = np.array(found, np.int32)[encoded.indices.to_numpy()]
    return codes
