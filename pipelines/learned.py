"""What two runs' models, and those that they continue, were trained on: no row of it is a test of them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from components.data.folding import fold
from components.evaluation.pairing import read_scored
from components.learned import NO_ANCESTRY, Ancestry, Hashes
from components.tracking.lineage import ancestors_of, learned_by
from components.tracking.reading import RecordedRun


class Common(Protocol):
    """Rows that two runs can be compared on."""

    @property
    def rows(self) -> int:
        """How many there are."""

    @property
    def common(self) -> int:
        """Test rows of both."""

    @property
    def by_ancestors(self) -> int:
        """Those left out as a model that one of the two continues has learned from them."""

    @property
    def same_test_set(self) -> bool:
        """Whether both were tested on the very same rows."""


def ancestry_of(run: RecordedRun, home: Path) -> Ancestry:
    """Return what the models that a run's goes back to were trained on.

    Raises:
        TrackingError: if the store cannot be read.
    """
    chain = ancestors_of(run.run_id, home)
    return learned_by(chain, training_rows, home) if chain else NO_ANCESTRY


def training_rows(predictions: Path) -> Hashes:
    """Return the hashes of the training rows in a `predictions.parquet`."""
    return read_scored(predictions, fold).learned


def unknown_ancestors(runs: Iterable[RecordedRun], ancestries: Iterable[Ancestry]) -> list[str]:
    """Return a line for each model that one of some runs continues and whose training rows are not known."""
    found = [
        f"run {run.run_id[:8]} went on from {model}, which may have been trained on some of these rows"
        for run, ancestry in zip(runs, ancestries, strict=True)
        for model in ancestry.unknown(run.pipeline)
    ]
    return list(dict.fromkeys(found))


def common_rows(pairs: Common) -> str:
    """Name the rows that two runs are compared on."""
    if pairs.same_test_set and pairs.rows == pairs.common:
        return f"the same {pairs.rows:,} test rows"
    neither = "neither, nor a model that one of them continues," if pairs.by_ancestors else "neither"
    return f"the {pairs.rows:,} test rows that both have and {neither} was trained on"
