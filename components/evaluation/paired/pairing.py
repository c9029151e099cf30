"""The predictions that a run has left of its test rows (`predictions.parquet`), paired with another run's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.core.errors import NotComparable
from components.evaluation.labelled import Predictions
from components.evaluation.paired.matching import Pairs, RunRows, match_rows
from components.learned import Hashes

BATCH = 1 << 14
PREFIX = "p_"
NEEDED = {"split", "label", "text"}

Fold = Callable[[str], str]


@dataclass(frozen=True, kw_only=True)
class Scored(RunRows):
    """What a run said of its N test rows, and what it learned from."""

    labels: tuple[str, ...]
    """The C labels, in the order of the model."""
    said: Predictions

    def in_order_of(self, labels: Sequence[str]) -> "Scored":
        """Return the same with the labels in another order."""
        place = [self.labels.index(label) for label in labels]
        said = Predictions(np.argsort(place)[self.said.truth], self.said.probabilities[:, place])
        return replace(self, labels=tuple(labels), said=said)


def read_scored(path: Path, fold: Fold) -> Scored:
    """Read a run's predictions, a batch at a time: in memory are hashes and probabilities, not the texts.

    Args:
        path: the Parquet file that `evaluate` wrote.
        fold: brings texts that count as the same message into one form.

    Raises:
        NotComparable: if it is no such file.
    """
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            columns = [name for name in names if name.startswith(PREFIX)]
            if not columns or not set(names) >= NEEDED:
                raise NotComparable(
                    f"{path.name} is no table of predictions: it needs split, label, text and p_<label>"
                )
            batches = file.iter_batches(BATCH, columns=[*sorted(NEEDED), *columns])
            parts = [_hashed_rows(batch, fold) for batch in batches]
    except (pa.ArrowInvalid, OSError) as error:
        raise NotComparable(f"{path.name} cannot be read as a table of predictions: {error}") from error
    return _scored(parts, columns, path.name)


def _scored(parts: list[pd.DataFrame], columns: list[str], name: str) -> Scored:
    tested = pd.concat([part[part["split"] == "test"] for part in parts], ignore_index=True)
    learned = np.unique(np.concatenate([part.loc[part["split"] == "train", "folded"].to_numpy() for part in parts]))
    labels = tuple(column.removeprefix(PREFIX) for column in columns)
    if not tested["label"].isin(labels).all():
        raise NotComparable(f"{name} has test rows whose label has no column of probabilities")
    truth = np.asarray(tested["label"].map({label: place for place, label in enumerate(labels)}), np.int64)
    return Scored(
        keys=tested["exact"].to_numpy(),
        folded=tested["folded"].to_numpy(),
        learned=learned,
        learned_known=bool(len(learned)),
        labels=labels,
        said=Predictions(truth, tested[columns].to_numpy(np.float64)),
    )


def _hashed_rows(batch: pa.RecordBatch, fold: Fold) -> pd.DataFrame:
    frame: pd.DataFrame = batch.to_pandas()
    texts = frame.pop("text").astype(object)
    labels = _hashed(frame["label"].astype(object).to_numpy())
    frame["exact"] = _hashed(texts.to_numpy()) * np.uint64(31) + labels
    frame["folded"] = _hashed(np.array([fold(text) for text in texts], object))
    return frame


def _hashed(texts: NDArray[np.object_]) -> Hashes:
    return np.asarray(pd.util.hash_array(texts, categorize=False))


def pair(first: Scored, second: Scored) -> Pairs[Predictions]:
    """Match the test rows of two runs by text and label, as `match_rows` says.

    Raises:
        NotComparable: if their labels are not the same, or no row is left.
    """
    if set(first.labels) != set(second.labels):
        named = " and ".join(", ".join(sorted(each.labels)) for each in (first, second))
        raise NotComparable(f"the two tell different labels apart: {named}")
    second = second.in_order_of(first.labels)
    common = match_rows(first, second)
    return Pairs(common, first.said.take(common.first), second.said.take(common.second))
