"""Every prediction as a table, errors first, written without holding the texts in memory."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.evaluation.labelled import Ids, Predictions
from components.evaluation.scoring import READ, Scored

FIRST = ("split", "label", "predicted", "probability", "text", "row", "correct")
"""The columns one reads first; then come what else the split's table has, what `svm` and `tfidf` predict, and
`p_<label>` for every label."""
BLOCK = 8 * READ
"""Rows written at once."""


def write_predictions(splits: Mapping[str, Path], scored: Mapping[str, Scored], labels: list[str], path: Path) -> None:
    """Write one row a text to the Parquet file `path`: the splits one after another, the last of `splits` first.

    Within a split the errors come first, the ones the model was surest of on top.
    """
    with tempfile.TemporaryDirectory(prefix=".rows-", dir=path.parent) as scratch:
        writer = None
        for name in reversed(list(splits)):
            with _Rows(splits[name], Path(scratch) / "rows.arrow") as rows:
                order = surest_errors_first(scored[name].said["model"])
                for start in range(0, len(order), BLOCK):
                    chosen = order[start : start + BLOCK]
                    table = _table(name, rows.take(chosen), _columns(scored[name], labels, chosen))
                    writer = writer or pq.ParquetWriter(path, table.schema)
                    writer.write_table(table)
        if writer:
            writer.close()


def surest_errors_first(predictions: Predictions) -> Ids:
    """Return the rows' positions (N): errors before what is right, each by falling probability, ties in order."""
    surest = predictions.probabilities.max(axis=1)
    return np.lexsort((-surest, predictions.correct))


def _columns(scored: Scored, labels: list[str], rows: Ids) -> dict[str, pa.Array]:
    """Return what was said of some rows, as columns."""
    names = pa.array(labels, pa.string())
    model, svm, tfidf = (scored.said[name].take(rows) for name in ("model", "svm", "tfidf"))
    return {
        "predicted": names.take(pa.array(model.predicted)),
        "probability": pa.array(model.probabilities.max(axis=1)),
        "correct": pa.array(model.correct),
        "svm": names.take(pa.array(svm.predicted)),
        "tfidf": names.take(pa.array(tfidf.predicted)),
    } | {f"p_{label}": pa.array(model.probabilities[:, place]) for place, label in enumerate(labels)}


def _table(split: str, rows: pa.Table, said: dict[str, pa.Array]) -> pa.Table:
    own = {name: rows[name] for name in rows.column_names if name not in {"split", *said}}
    columns: dict[str, Any] = {"split": pa.array([split] * len(rows), pa.string()), **own, **said}
    order = [*FIRST, *(name for name in columns if name not in FIRST)]
    return pa.table({name: columns[name] for name in order if name in columns})


class _Rows:
    """A Parquet file whose rows can be taken in any order: copied to a file that is mapped into memory.

    Parquet has to be read from its start; and a table's own `take` may first copy whole columns to the heap.
    """

    def __init__(self, table: Path, copy: Path) -> None:
        file = pq.ParquetFile(table)
        schema = file.schema_arrow.remove_metadata()
        with pa.OSFile(str(copy), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            for batch in file.iter_batches(READ):
                writer.write_batch(batch.replace_schema_metadata(None))
        self._source = pa.memory_map(str(copy))
        reader = pa.ipc.open_file(self._source)
        self._schema = schema
        self._batches = [reader.get_batch(position) for position in range(reader.num_record_batches)]
        self._starts = np.cumsum([0, *(len(batch) for batch in self._batches)])

    def __enter__(self) -> "_Rows":
        return self

    def __exit__(self, *_error: object) -> None:
        self._batches.clear()
        self._source.close()

    def take(self, rows: Ids) -> pa.Table:
        """Return rows by position, in the order given."""
        order = np.argsort(rows, kind="stable")
        taken = pa.Table.from_batches(list(self._in_file_order(rows[order])), self._schema).combine_chunks()
        return taken.take(pa.array(np.argsort(order)))

    def _in_file_order(self, rows: Ids) -> Iterator[pa.RecordBatch]:
        edges = np.searchsorted(rows, self._starts)
        for batch, start, low, high in zip(self._batches, self._starts, edges, edges[1:], strict=False):
            if high > low:
                yield batch.take(pa.array(rows[low:high] - start))
