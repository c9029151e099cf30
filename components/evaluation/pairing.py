"""Which test rows two runs have in common, from the predictions that each has left (`predictions.parquet`)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.core.errors import NotComparable
from components.evaluation.metrics import Ids, Predictions, Probabilities
from components.learned import NO_ANCESTRY, Ancestry, Hashes

BATCH = 1 << 14
PREFIX = "p_"
NEEDED = {"split", "label", "text"}

Fold = Callable[[str], str]


@dataclass(frozen=True)
class Scored:
    """What a run said of its N test rows, and what it learned from."""

    labels: tuple[str, ...]
    """The C labels, in the order of the model."""
    texts: Hashes
    """Equal for equal texts (N)."""
    folded: Hashes
    """Equal for texts that count as the same message (N)."""
    truth: Ids
    probabilities: Probabilities
    """(N, C)"""
    learned: Hashes
    """The folded texts of the training rows, each once; none if they are not known."""
    ancestry: Ancestry = NO_ANCESTRY
    """What the models that the run's goes on from learned from."""

    def __len__(self) -> int:
        return len(self.truth)

    def in_order_of(self, labels: Sequence[str]) -> "Scored":
        """Return the same with the labels in another order."""
        place = [self.labels.index(label) for label in labels]
        truth = np.argsort(place)[self.truth]
        return replace(self, labels=tuple(labels), truth=truth, probabilities=self.probabilities[:, place])

    def take(self, rows: Ids) -> Predictions:
        """Return what was said of some rows."""
        return Predictions(self.truth[rows], self.probabilities[rows])


@dataclass(frozen=True)
class Pairs:
    """Two runs' predictions of the rows that both were tested on and neither has learned from."""

    first: Predictions
    second: Predictions
    in_first: int
    """Test rows of the first run."""
    in_second: int
    common: int
    """Test rows of both, some of which one of the two may have learned from."""
    learned_known: bool
    """Whether it is known of both what they learned from."""
    by_ancestors: int = 0
    """Common rows that neither has learned from, but a model that one of the two goes on from."""
    ancestry: tuple[Ancestry, Ancestry] = (NO_ANCESTRY, NO_ANCESTRY)
    """What the models that each of the two goes on from learned from."""

    @property
    def rows(self) -> int:
        """How many rows can be compared."""
        return len(self.first.truth)

    @property
    def same_test_set(self) -> bool:
        """Whether both were tested on the very same rows."""
        return self.in_first == self.in_second == self.common


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
            parts = [_read(batch, fold) for batch in batches]
    except (pa.ArrowInvalid, OSError) as error:
        raise NotComparable(f"{path.name} cannot be read as a table of predictions: {error}") from error
    tested = pd.concat([part[part["split"] == "test"] for part in parts], ignore_index=True)
    learned = np.unique(np.concatenate([part.loc[part["split"] == "train", "folded"].to_numpy() for part in parts]))
    labels = tuple(name.removeprefix(PREFIX) for name in columns)
    if not tested["label"].isin(labels).all():
        raise NotComparable(f"{path.name} has test rows whose label has no column of probabilities")
    truth = tested["label"].map({label: place for place, label in enumerate(labels)}).to_numpy(np.int64)
    probabilities = tested[columns].to_numpy(np.float64)
    return Scored(labels, tested["exact"].to_numpy(), tested["folded"].to_numpy(), truth, probabilities, learned)


def _read(batch: pa.RecordBatch, fold: Fold) -> pd.DataFrame:
    frame: pd.DataFrame = batch.to_pandas()
    texts = frame.pop("text").astype(object)
    frame["exact"] = _hashed(texts.to_numpy())
    frame["folded"] = _hashed(np.array([fold(text) for text in texts], object))
    return frame


def _hashed(texts: NDArray[np.object_]) -> Hashes:
    return np.asarray(pd.util.hash_array(texts, categorize=False))


def pair(first: Scored, second: Scored) -> Pairs:
    """Match the test rows of two runs by text and label; leave out those that either, or one before it, learned from.

    A row that stands twice in both is matched twice.

    Raises:
        NotComparable: if their labels are not the same, or no row is left.
    """
    if set(first.labels) != set(second.labels):
        named = " and ".join(", ".join(sorted(each.labels)) for each in (first, second))
        raise NotComparable(f"the two tell different labels apart: {named}")
    second = second.in_order_of(first.labels)
    matched = _keys(first).merge(_keys(second), on=["text", "label", "copy"], suffixes=("_first", "_second"))
    one, two = (matched[f"row_{side}"].to_numpy(np.int64) for side in ("first", "second"))
    folded = first.folded[one]
    learned = np.isin(folded, np.concatenate([first.learned, second.learned]))
    before = np.isin(folded, np.concatenate([first.ancestry.rows, second.ancestry.rows])) & ~learned
    unseen = ~learned & ~before
    if not len(one):
        raise NotComparable(f"of {len(first):,} and {len(second):,} test rows none is the same")
    if not unseen.any():
        raise NotComparable(
            f"all {len(one):,} test rows that both have stand in the training data of one of the two"
            + or_before(before)
        )
    return Pairs(
        first.take(one[unseen]),
        second.take(two[unseen]),
        len(first),
        len(second),
        len(one),
        bool(len(first.learned) and len(second.learned)),
        int(before.sum()),
        (first.ancestry, second.ancestry),
    )


def or_before(before: NDArray[np.bool_]) -> str:
    """Return what to add to "the training data of one of the two" where models before them have learned as well."""
    return " or of a model that it continues" if before.any() else ""


def _keys(scored: Scored) -> pd.DataFrame:
    """Return text, label and position of every row, and the how manieth of its kind it is."""
    keys = pd.DataFrame({"text": scored.texts, "label": scored.truth, "row": np.arange(len(scored))})
    keys["copy"] = keys.groupby(["text", "label"]).cumcount()
    return keys
