"""Labels of a run's data that are probably wrong: found, and written as a file to mend."""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from components.core.errors import ConfigError, DataRejected, DownloadError, GradusError, TableError
from components.core.home import home, mirror
from components.data.batches import batches_of, schema, write_batches
from components.data.download import download
from components.data.split.config import SplitConfig
from components.data.split.given_splits import SPLIT
from components.data.split.grouping import group_rows, with_near_duplicates
from components.data.split.row_index import RowIndex, index_rows
from components.evaluation.label_errors import LabelErrors, find_label_errors
from pipelines.kinds.classification.config import ClassificationConfig

TABLE = "labelled.parquet"
COLUMNS = ("row", "split", "text", "label", "suggested", "confidence", "label_probability", "run_model")
"""Columns of the file to mend."""


@dataclass(frozen=True)
class Labelled:
    """The rows of a run's data that have a text and a declared label."""

    table: Path
    """Parquet: `row`, `text`, `label`, and `split` where the source gives splits."""
    every: Path
    """The same with the rows that lack one of both."""
    labels: list[str]
    whole: bool
    """Whether these are all rows of the source; else only those that the run itself has kept."""
    why_not: str = ""
    """Why not."""


def read_data(config: ClassificationConfig, facts: Mapping[str, Any], predictions: Path, folder: Path) -> Labelled:
    """Return the labelled rows of a run's source, or where it is gone or has changed, those that the run has kept.

    Args:
        config: the run's.
        facts: what its steps found out.
        predictions: the rows that it kept, with what its model predicted.
        folder: where the table is written.
    """
    labels, raw, why = config.validation.labels, folder / "raw", ""
    raw.mkdir()
    try:
        found = download(config.source, home() / "downloads", mirror(), raw)
        if _hashes(found) == _hashes(facts["download"]):
            _write_labelled(raw / "table.parquet", labels, folder / TABLE)
            return Labelled(folder / TABLE, raw / "table.parquet", labels, whole=True)
        why = f"{config.source.url} has changed since the run"
    except (DownloadError, TableError, DataRejected, ConfigError) as error:
        why = str(error)
    _write_labelled(predictions, labels, folder / TABLE)
    return Labelled(folder / TABLE, predictions, labels, whole=False, why_not=why)


def _hashes(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return the hashes of all files of a source."""
    return {"": facts["sha256"], **{name: each["sha256"] for name, each in facts.get("files", {}).items()}}


def _write_labelled(table: Path, labels: list[str], out: Path) -> None:
    """Write the rows of a table that have a text and one of the labels."""
    with pq.ParquetFile(table, pre_buffer=False) as file:
        names = [name for name in ("text", "label", SPLIT) if name in file.schema_arrow.names]
        columns = schema(names)

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in batches_of(file, ["row", *names]):
                text = pc.utf8_trim_whitespace(batch["text"].cast(pa.string()))
                has_both = pc.and_kleene(pc.not_equal(text, ""), pc.is_in(batch["label"], pa.array(labels)))
                yield batch.filter(pc.fill_null(has_both, False)).select(columns.names).cast(columns)

        write_batches(batches(), columns, out)


def find(data: Labelled) -> tuple[RowIndex, LabelErrors]:
    """Return the rows of labelled data, and those of them whose label is probably wrong.

    Raises:
        GradusError: if there are too few rows to cross-validate.
    """
    config = SplitConfig()
    rows = with_near_duplicates(index_rows(data.table, data.labels), False, config)
    groups = group_rows(rows, np.arange(len(rows)), config).of_row
    truth = rows.labels.astype(np.int64)
    try:
        return rows, find_label_errors(data.table, truth, groups, len(data.labels))
    except ValueError as error:
        raise GradusError(f"the labels of {len(rows):,} rows cannot be looked into: {error}") from error


def write_found(data: Labelled, rows: RowIndex, found: LabelErrors, predictions: Path, out: Path) -> int:
    """Write the file to mend: a row a label that is probably wrong, the least probable label first; return how many.

    `confidence` is the probability of the suggested label, `label_probability` that of the one it has, and `run_model`
    what the run's own model says of rows that it was not trained on, if these are among its validation and test rows.
    """
    taken = ds.dataset(data.table, format="parquet").take(found.rows).to_pylist() if len(found.rows) else []
    said = _said_by_model(predictions)
    with out.open("x", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for place, row in zip(found.rows.tolist(), taken, strict=True):
            probabilities = found.probabilities[place]
            best = int(probabilities.argmax())
            writer.writerow(
                {name: row.get(name) for name in ("row", "split", "text", "label")}
                | {
                    "suggested": data.labels[best],
                    "confidence": f"{probabilities[best]:.4f}",
                    "label_probability": f"{probabilities[rows.labels[place]]:.4f}",
                    "run_model": said.get((row["row"], row["text"]), ""),
                }
            )
    return len(taken)


def _said_by_model(predictions: Path) -> dict[tuple[int, str], str]:
    """Return the label that a run's model gives its validation and test rows, by number and text."""
    held_out = ds.field("split").isin(["validation", "test"])
    names = ["row", "text", "predicted"]
    there = pq.read_schema(predictions).names
    if not {*names, "split"} <= {*there}:
        return {}
    table = ds.dataset(predictions, format="parquet").to_table(columns=names, filter=held_out)
    return {(row["row"], row["text"]): row["predicted"] for row in table.to_pylist()}
