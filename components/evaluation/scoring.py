"""What classifiers say of a split, read and scored a batch at a time.

Of every row only its class id, its length in tokens and the probabilities stay in memory; its text does not.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from components.evaluation.labelled import Ids, Predictions, Probabilities
from components.models.fast.states import States
from components.models.fast.tail import classify_states
from components.models.saved.classifier import LoadedClassifier
from components.models.tokenizer import encode

CHUNK = 128
"""Texts between two moves of the progress bar; within a chunk, batches are sorted by length."""
READ = 64 * CHUNK
"""Rows read at once."""

Predict = Callable[[list[str]], Probabilities]
"""Maps N texts to probabilities (N, C)."""


@dataclass(frozen=True)
class Scored:
    """A split: what each classifier said of it, by name, and how many tokens each text has before it is cut (N)."""

    predictions: dict[str, Predictions]
    lengths: NDArray[np.int32]

    def take(self, rows: NDArray[np.bool_]) -> "Scored":
        """Return what was said of some rows."""
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
    advance: "Advance",
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
        parts["lengths"].append(np.array([len(row) for row in encode(classifier.encoding, texts)], dtype=np.int32))
        if states is not None:
            logits = classify_states(classifier.model, states, range(done, done + len(texts)))
            parts["model"].append(torch.softmax(logits.double(), dim=1).numpy())
            advance(len(texts))
        for start in range(0, len(texts), CHUNK) if states is None else ():
            chunk = texts[start : start + CHUNK]
            parts["model"].append(classifier.predict(chunk)[columns].to_numpy())
            advance(len(chunk))
        done += len(texts)
        for name, predict in baselines.items():
            parts[name].append(predict(texts))
    found = {name: np.concatenate(part) for name, part in parts.items()}
    truth, lengths = found.pop("truth"), found.pop("lengths")
    return Scored({name: Predictions(truth, probabilities) for name, probabilities in found.items()}, lengths)


Advance = Callable[[int], None]
"""Is told how many further rows are done."""


@contextmanager
def progress_bar(rows: int) -> Iterator[Advance]:
    """Show how many of `rows` are scored, on standard error, if that is a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("evaluate", total=rows)
        yield lambda done: bar.advance(task, done)
