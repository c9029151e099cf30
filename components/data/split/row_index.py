"""What a split needs to know of every row, in 21 bytes each: hashes of its text, its label's or task's number."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.conversations import HISTORY, with_history
from components.core.errors import ConfigError
from components.data.batches import batches_of, hashed
from components.data.split.folding import fold_all, fold_tasks, joined
from components.data.split.given_splits import SPLIT, split_number
from components.data.split.near_duplicates import NearDuplicates

BATCH = 1 << 14


@dataclass(frozen=True)
class RowIndex:
    """The rows of a table, by position."""

    table: Path
    columns: list[str]
    """Those of the text."""
    folds: str
    """What texts differ in that are folded to the same, in words."""
    exact: np.ndarray
    """uint64 (rows): equal for equal texts."""
    folded: np.ndarray
    """uint64 (rows): equal for near duplicates (`components.data.split.folding`)."""
    labels: np.ndarray
    """int32 (rows): position of the label in `names`."""
    names: list[str]
    """The declared labels in their order, then those that turned up besides."""
    given: np.ndarray | None = None
    """int32 (rows): position in `SPLITS` of the split that the source puts the row into, if it does."""
    near: NearDuplicates | None = None
    """Near duplicates among the texts, if they were looked for."""

    def __len__(self) -> int:
        return len(self.labels)

    def counts(self, part: np.ndarray) -> dict[str, int]:
        """Return how many of the rows at some positions have each label; those without one are not counted."""
        counts = np.bincount(self.labels[part], minlength=len(self.names)).tolist()
        return {name: count for name, count in zip(self.names, counts, strict=False) if isinstance(name, str)}


def index_rows(table: Path, labels: list[str]) -> RowIndex:
    """Read a Parquet table's texts and labels, a batch at a time.

    Raises:
        ConfigError: if it lacks one of the two columns.
    """
    folds = "texts that differ only in digits, case or white space"
    return _index(table, ["text"], "label", labels, lambda texts: texts, fold_all, folds)


def index_instructions(table: Path) -> RowIndex:
    """Read a Parquet table's instructions with their inputs, history and tasks if it has them, a batch at a time.

    `labels` are the tasks: one for all rows if there is no such column, and one for the rows whose task is null.

    Raises:
        ConfigError: if it lacks instructions or inputs.
    """
    folds = "entries that differ only in case or white space"
    history = [HISTORY] if HISTORY in pq.read_schema(table).names else []

    def of_whole(form: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
        return lambda asked, inputs, *before: form(with_history(asked, *before) if before else asked, inputs)

    columns = ["instruction", "input", *history]
    return _index(table, columns, "task", [], of_whole(joined), of_whole(fold_tasks), folds)


def _index(
    table: Path,
    columns: list[str],
    label: str,
    declared: Sequence[str],
    exact_of: Callable[..., np.ndarray],
    folded_of: Callable[..., np.ndarray],
    folds: str,
) -> RowIndex:
    """Index rows by a text that is made of some columns; where no label is declared, they may lack labels."""
    with pq.ParquetFile(table, pre_buffer=False) as file:
        rows, there = file.metadata.num_rows, file.schema_arrow.names
        if missing := {*columns, *([label] if declared else [])} - set(there):
            raise ConfigError(f"the table has no column {' and '.join(sorted(missing))}; check source.columns")
        exact, folded = np.empty(rows, np.uint64), np.empty(rows, np.uint64)
        codes, numbers = np.zeros(rows, np.int32), {name: number for number, name in enumerate(declared)}
        given = np.zeros(rows, np.int32) if SPLIT in there else None
        done = 0
        for batch in batches_of(file, [name for name in (*columns, label, SPLIT) if name in there], BATCH):
            part = slice(done, done := done + batch.num_rows)
            cells = [batch[name].cast(pa.string()).to_numpy(zero_copy_only=False) for name in columns]
            exact[part], folded[part] = hashed(exact_of(*cells)), hashed(folded_of(*cells))
            if label in there:
                codes[part] = _numbered(batch[label], lambda name: numbers.setdefault(name, len(numbers)))
            if given is not None:
                given[part] = _numbered(batch[SPLIT], split_number)
    return RowIndex(table, columns, folds, exact, folded, codes, list(numbers), given)


def _numbered(names: pa.Array, number: Callable[..., int]) -> np.ndarray:
    """Return the number of each name, given that of a single one or of None."""
    encoded = names.cast(pa.string()).dictionary_encode(null_encoding="encode")
    numbers = np.array([number(name) for name in encoded.dictionary.to_pylist()], np.int32)
    found: np.ndarray = numbers[encoded.indices.to_numpy()]
    return found
