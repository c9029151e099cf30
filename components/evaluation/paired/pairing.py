"""The predictions that a run has left of its test rows (`predictions.parquet`), paired with another run's."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from components.core.errors import NotComparable
from components.evaluation.labelled import Predictions
from components.evaluation.paired.matching import Pairs, RunRows, match_rows

BATCH = 1 << 14
PREFIX = "p_"
NEEDED = {"split", "label", "text"}

Fold = Callable[[str], str]


@dataclass(frozen=True, kw_only=True)
class Scored(RunRows):
    """What a run said of its N test rows, and what it learned from."""

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
