"""What classifiers say of a split, read and scored a batch at a time, and written as a table.

Of every row only its class id, its length in tokens and the probabilities stay in memory; its text does not.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from components.evaluation.labelled import Ids, Predict, Predictions
from components.models.fast.states import States
from components.models.fast.tail import classify_states
from components.models.saved.classifier import LoadedClassifier
from components.models.tokenizer import encode_whole

CHUNK = 128
"""Texts between two moves of the progress bar; within a chunk, batches are sorted by length."""
READ = 64 * CHUNK
"""Rows read at once."""

FIRST = ("split", "label", "predicted", "probability", "text", "row", "correct")
"""The columns one reads first; then come what else the split's table has, what the baselines that learn predict, and
`p_<label>` for every label."""
BESIDE = ("svm", "tfidf", "encoder")
"""The baselines whose predictions stand beside the model's."""
BLOCK = 8 * READ
"""Rows written at once."""


@dataclass(frozen=True)
class Scored:
    """A split: the predictions of each classifier, by name, and how many tokens each text has before it is cut (N)."""

    predictions: dict[str, Predictions]
    lengths: NDArray[np.int32]

    def take(self, rows: NDArray[np.bool_]) -> "Scored":
        """Return the same of some rows."""
        return Scored({name: found.take(rows) for name, found in self.predictions.items()}, self.lengths[rows])


def read_texts(path: Path, labels: list[str]) -> Iterator[tuple[list[str], Ids]]:
    """Yield the texts and class ids of a split in order, `READ` rows at a time."""
    ids = {label: position for position, label in enumerate(labels)}
    for batch in pq.ParquetFile(path).iter_batches(READ, columns=["text", "label"]):
        columns = batch.to_pydict()
        yield columns["text"], np.array([ids[label] for label in columns["label"]], dtype=np.int64)


def read_evenly(path: Path, labels: list[str], most: int) -> tuple[list[str], Ids]:
    """Return at most `most` texts and their class ids, at even distances in the file; all of them if there are less."""
    rows = pq.read_metadata(path).num_rows
    chosen = np.linspace(0, rows - 1, min(rows, most)).astype(np.int64)
    columns = scan(path, ["text", "label"]).take(pa.array(chosen)).to_pydict()
    return columns["text"], np.array([labels.index(label) for label in columns["label"]], dtype=np.int64)


def scan(path: Path, columns: list[str] | None = None) -> ds.Scanner:
    """Return what takes rows of a Parquet file in any order: it reads from the start, and holds a part at a time."""
    return ds.dataset(path).scanner(columns=columns, batch_size=READ, batch_readahead=1, fragment_readahead=1)


def score(
    path: Path,
    classifier: LoadedClassifier,
    baselines: Mapping[str, Predict],
    update: Callable[..., None],
    states: States | None = None,
) -> Scored:
    """Return what the model (`model`) and the baselines say of a split; `states` are what frozen blocks make of it.

    From states in fp32 probabilities are those of the whole model within 1e-4. States in bf16 carry the rounding of
    the blocks that made them: probabilities then differ by up to 0.02 in tests, so that a text between two classes
    may fall either way.
    """
    columns = [f"p_{label}" for label in classifier.card.labels]
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in ("truth", "lengths", "model", *baselines)}
    done = 0
    for texts, ids in read_texts(path, classifier.card.labels):
        parts["truth"].append(ids)
        parts["lengths"].append(
            np.array([len(row) for row in encode_whole(classifier.encoding, texts)], dtype=np.int32)
        )
        if states is not None:
            logits = classify_states(classifier.model, states, range(done, done + len(texts)))
            parts["model"].append(torch.softmax(logits.double(), dim=1).numpy())
            update(advance=len(texts))
        for start in range(0, len(texts), CHUNK) if states is None else ():
            chunk = texts[start : start + CHUNK]
            parts["model"].append(classifier.predict(chunk)[columns].to_numpy())
            update(advance=len(chunk))
        done += len(texts)
        for name, predict in baselines.items():
            parts[name].append(predict(texts))
    found = {name: np.concatenate(part) for name, part in parts.items()}
    truth, lengths = found.pop("truth"), found.pop("lengths")
    return Scored({name: Predictions(truth, probabilities) for name, probabilities in found.items()}, lengths)


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
    """Return the predictions of some rows as columns."""
    names = pa.array(labels, pa.string())
    model = scored.predictions["model"].take(rows)
    others = {name: each.take(rows) for name, each in scored.predictions.items() if name in BESIDE}
    return {
        "predicted": names.take(pa.array(model.predicted)),
        "probability": pa.array(model.confidence),
        "correct": pa.array(model.correct),
        **{name: names.take(pa.array(others[name].predicted)) for name in BESIDE if name in others},
    } | {f"p_{label}": pa.array(model.probabilities[:, place]) for place, label in enumerate(labels)}
