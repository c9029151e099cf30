"""Which test rows two runs have in common that neither, nor a model before it, has learned from."""

from collections.abc import Callable, Sized
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.core.errors import NotComparable
from components.evaluation.labelled import Ids
from components.learned import NO_ANCESTRY, Ancestry, Hashes

Run = TypeVar("Run", bound="RunRows")
Said = TypeVar("Said", bound=Sized)


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
class Pairs(Generic[Said]):
    """What two models said of the M > 0 rows that two runs can be compared on."""

    runs: tuple[RunRows, RunRows]
    """All that each was tested on."""
    first: Said
    second: Said
    common: int
    """Test rows of both, some of which one of the two may have learned from."""
    by_ancestors: int
    """Common rows that neither has learned from, but a model that one of the two goes on from."""

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
    def learned_known(self) -> tuple[bool, bool]:
        """Whether it is known of each what it learned from."""
        return self.runs[0].learned_known, self.runs[1].learned_known


def match_rows(first: Run, second: Run, said: Callable[[Run, Ids], Said]) -> Pairs[Said]:
    """Match the test rows of two runs; leave out those that either, or a model before it, has learned from.

    A row that stands twice in both is matched twice. `said` returns what a run said of rows by their positions.

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
        first=said(first, places[0][unseen]),
        second=said(second, places[1][unseen]),
        common=len(matched),
        by_ancestors=int(before.sum()),
    )
