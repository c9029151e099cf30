"""Which test rows two runs have in common that neither, nor a model before it, has learned from.

At the end, of classifiers: the predictions that a run has left of its test rows (`predictions.parquet`).
"""

from collections.abc import Callable, Sized
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.core.errors import NotComparable
from components.evaluation.labelled import Ids, Predictions
from components.learned import NO_ANCESTRY, Ancestry, Hashes

BATCH = 1 << 14
PREFIX = "p_"
NEEDED = {"split", "label", "text"}

Fold = Callable[[str], str]
"""Brings texts that count as the same message into one form."""

Run = TypeVar("Run", bound="RunRows")
Found = TypeVar("Found", bound=Sized)


@dataclass(frozen=True, kw_only=True)
class RunRows:
    """The N test rows of a run, and what its model learned from."""

    keys: Hashes
    """Equal for equal rows (N)."""
    folded: Hashes
    """Equal for rows that count as the same (N)."""
    learned: Hashes
    """The same of the training rows, each once; none if they are not known."""
    learned_known: bool
    """Whether they are known."""
    ancestry: Ancestry = NO_ANCESTRY
    """What the models that the run's goes on from learned from."""

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def unseen(self) -> NDArray[np.bool_]:
        """Which rows (N) neither the model nor one before it has learned from."""
        return self.unseen_by(self)

    def unseen_by(self, other: "RunRows") -> NDArray[np.bool_]:
        """Return which rows (N) neither another run's model nor one before it has learned from."""
        return ~np.isin(self.folded, np.concatenate([other.learned, other.ancestry.rows]))


@dataclass(frozen=True, kw_only=True)
class Pairs(Generic[Found]):
    """What two models predict for the M > 0 rows that two runs can be compared on."""

    runs: tuple[RunRows, RunRows]
    """All that each was tested on."""
    first: Found
    second: Found
    common: int
    """Test rows of both, some of which one of the two may have learned from."""
    by_ancestors: int
    """Common rows that neither has learned from, but a model that one of the two goes on from."""
    places: tuple[Ids, Ids]
    """Where these M rows stand among those of each run (M)."""

    @property
    def rows(self) -> int:
        """How many rows can be compared."""
        return len(self.first)

    @property
    def same_test_set(self) -> bool:
        """Whether both were tested on the very same rows."""
        return all(len(run) == self.common for run in self.runs)

    @property
    def left_out(self) -> int:
        """How many common rows one of the two, or a model before it, has learned from."""
        return self.common - self.rows

    @property
    def new_to_the_first(self) -> int:
        """How many more test rows of the second neither has learned from: the first was not tested on them."""
        first, second = self.runs
        return int((second.unseen & second.unseen_by(first)).sum()) - self.rows

    @property
    def learned_known(self) -> tuple[bool, bool]:
        """Whether it is known of each what it learned from."""
        return self.runs[0].learned_known, self.runs[1].learned_known


def match_rows(first: Run, second: Run, take: Callable[[Run, Ids], Found]) -> Pairs[Found]:
    """Match the test rows of two runs; leave out those that either, or a model before it, has learned from.

    A row that stands twice in both is matched twice. `take` returns what a run has of rows by their positions.

    Raises:
        NotComparable: if no row is the same, or none is left.
    """
    tables = [pd.DataFrame({"key": each.keys, "row": np.arange(len(each))}) for each in (first, second)]
    one, two = (table.assign(occurrence=table.groupby("key").cumcount()) for table in tables)
    matched = one.merge(two, on=["key", "occurrence"], suffixes=("_first", "_second"))
    if matched.empty:
        raise NotComparable(f"of {len(first):,} and {len(second):,} test rows none is the same")
    places = [matched[f"row_{side}"].to_numpy(np.int64) for side in ("first", "second")]
    folded = first.folded[places[0]]
    learned = np.isin(folded, np.concatenate([first.learned, second.learned]))
    before = np.isin(folded, np.concatenate([first.ancestry.rows, second.ancestry.rows])) & ~learned
    unseen = ~learned & ~before
    if not unseen.any():
        or_before = " or of a model that it continues" if before.any() else ""
        raise NotComparable(
            f"all {len(matched):,} test rows that both have stand in the training data of one of the two{or_before}"
        )
    return Pairs(
        runs=(first, second),
        first=take(first, places[0][unseen]),
        second=take(second, places[1][unseen]),
        common=len(matched),
        by_ancestors=int(before.sum()),
        places=(places[0][unseen], places[1][unseen]),
    )


@dataclass(frozen=True, kw_only=True)
class Scored(RunRows):
    """What a run predicts for its N test rows, and what it learned from."""

    labels: tuple[str, ...]
    """The C labels, in the order of the model."""
    predictions: Predictions


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
            rows = pd.concat([_hashed_rows(batch, fold) for batch in batches], ignore_index=True)
    except (pa.ArrowInvalid, OSError) as error:
        raise NotComparable(f"{path.name} cannot be read as a table of predictions: {error}") from error
    tested, learned = rows[rows["split"] == "test"], np.unique(rows.loc[rows["split"] == "train", "folded"].to_numpy())
    labels = tuple(column.removeprefix(PREFIX) for column in columns)
    truth = pd.Index(labels).get_indexer(tested["label"])
    if (truth < 0).any():
        raise NotComparable(f"{path.name} has test rows whose label has no column of probabilities")
    return Scored(
        keys=tested["exact"].to_numpy(),
        folded=tested["folded"].to_numpy(),
        learned=learned,
        learned_known=bool(len(learned)),
        labels=labels,
        predictions=Predictions(truth, tested[columns].to_numpy(np.float64)),
    )


def _hashed_rows(batch: pa.RecordBatch, fold: Fold) -> pd.DataFrame:
    """Return the rows with `exact` and `folded`, hashes of text and label and of the folded text, in its place."""
    frame: pd.DataFrame = batch.to_pandas()
    texts = frame.pop("text").astype(object)
    exact, folded, labels = (
        pd.util.hash_array(np.asarray(values, object), categorize=False)
        for values in (texts, [fold(text) for text in texts], frame["label"])
    )
    return frame.assign(exact=exact * np.uint64(31) + labels, folded=folded)


def pair(first: Scored, second: Scored) -> Pairs[Predictions]:
    """Match the test rows of two runs by text and label, as `match_rows` says.

    Raises:
        NotComparable: if their labels are not the same, or no row is left.
    """
    if set(first.labels) != set(second.labels):
        named = " and ".join(", ".join(sorted(each.labels)) for each in (first, second))
        raise NotComparable(f"the two tell different labels apart: {named}")
    place = [second.labels.index(label) for label in first.labels]
    predictions = Predictions(np.argsort(place)[second.predictions.truth], second.predictions.probabilities[:, place])
    same_order = replace(second, labels=first.labels, predictions=predictions)
    return match_rows(first, same_order, lambda run, rows: run.predictions.take(rows))
