"""Every prediction as a table, errors first, written without holding the texts in memory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.evaluation.labelled import Ids
from components.evaluation.scoring import READ, Scored, scan

FIRST = ("split", "label", "predicted", "probability", "text", "row", "correct")
"""The columns one reads first; then come what else the split's table has, what `svm` and `tfidf` predict, and
`p_<label>` for every label."""
BLOCK = 8 * READ
"""Rows written at once."""


def write_predictions(splits: Mapping[str, Path], scored: Mapping[str, Scored], labels: list[str], path: Path) -> None:
    """Write one row a text to the Parquet file `path`: the splits one after another, the last of `splits` first.

    Within a split the errors come first, the ones the model was surest of on top.
    """
    writer = None
    for name in reversed(list(splits)):
        source, model = scan(splits[name]), scored[name].predictions["model"]
        order = np.lexsort((-model.confidence, model.correct))
        for start in range(0, len(order), BLOCK):
            chosen = order[start : start + BLOCK]
            rows, predicted = source.take(pa.array(chosen)), _columns(scored[name], labels, chosen)
            own = {column: rows[column] for column in rows.column_names if column not in {"split", *predicted}}
            columns: dict[str, Any] = {"split": pa.array([name] * len(rows), pa.string()), **own, **predicted}
            order_of = [*FIRST, *(column for column in columns if column not in FIRST)]
            table = pa.table({column: columns[column] for column in order_of if column in columns})
            writer = writer or pq.ParquetWriter(path, table.schema)
            writer.write_table(table)
    if writer:
        writer.close()


def _columns(scored: Scored, labels: list[str], rows: Ids) -> dict[str, pa.Array]:
    """Return what was said of some rows, as columns."""
    names = pa.array(labels, pa.string())
    model, svm, tfidf = (scored.predictions[name].take(rows) for name in ("model", "svm", "tfidf"))
    return {
        "predicted": names.take(pa.array(model.predicted)),
        "probability": pa.array(model.confidence),
        "correct": pa.array(model.correct),
        "svm": names.take(pa.array(svm.predicted)),
        "tfidf": names.take(pa.array(tfidf.predicted)),
    } | {f"p_{label}": pa.array(model.probabilities[:, place]) for place, label in enumerate(labels)}
