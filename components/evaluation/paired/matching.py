"""Which test rows two runs have in common that neither, nor a model before it, has learned from."""

from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.core.errors import NotComparable
from components.evaluation.labelled import Ids
from components.learned import NO_ANCESTRY, Ancestry, Hashes

Said = TypeVar("Said")


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


@dataclass(frozen=True)
class CommonRows:
    """The M > 0 rows that two runs can be compared on."""

    first: Ids
    """Where each (M) stands among the first run's test rows."""
    second: Ids
    in_first: int
    """Test rows of the first run."""
    in_second: int
    common: int
    """Test rows of both, some of which one of the two may have learned from."""
    by_ancestors: int
    """Common rows that neither has learned from, but a model that one of the two goes on from."""
    ancestry: tuple[Ancestry, Ancestry]
    """What the models that each of the two goes on from learned from."""
    learned_known: tuple[bool, bool]
    """Whether it is known of each what it learned from."""

    @property
    def rows(self) -> int:
        """How many rows can be compared."""
        return len(self.first)

    @property
    def same_test_set(self) -> bool:
        """Whether both were tested on the very same rows."""
        return self.in_first == self.in_second == self.common

    @property
    def left_out(self) -> int:
        """How many common rows one of the two, or a model before it, has learned from."""
        return self.common - self.rows


@dataclass(frozen=True)
class Pairs(Generic[Said]):
    """What two models said of the same rows."""

    common: CommonRows
    first: Said
    second: Said


def match_rows(first: RunRows, second: RunRows) -> CommonRows:
    """Match the test rows of two runs; leave out those that either, or a model before it, has learned from.

    A row that stands twice in both is matched twice.

    Raises:
        NotComparable: if no row is the same, or none is left.
    """
    matched = _numbered(first).merge(_numbered(second), on=["key", "occurrence"], suffixes=("_first", "_second"))
    if matched.empty:
        raise NotComparable(f"of {len(first):,} and {len(second):,} test rows none is the same")
    one, two = (matched[f"row_{side}"].to_numpy(np.int64) for side in ("first", "second"))
    folded = first.folded[one]
    learned = np.isin(folded, np.concatenate([first.learned, second.learned]))
    before = np.isin(folded, np.concatenate([first.ancestry.rows, second.ancestry.rows])) & ~learned
    unseen = ~learned & ~before
    if not unseen.any():
        or_before = " or of a model that it continues" if before.any() else ""
        raise NotComparable(
            f"all {len(one):,} test rows that both have stand in the training data of one of the two{or_before}"
        )
    return CommonRows(
        first=one[unseen],
        second=two[unseen],
        in_first=len(first),
        in_second=len(second),
        common=len(one),
        by_ancestors=int(before.sum()),
        ancestry=(first.ancestry, second.ancestry),
        learned_known=(first.learned_known, second.learned_known),
    )


def _numbered(rows: RunRows) -> pd.DataFrame:
    """Return key and position of every row, and which occurrence of its key it is."""
    keys = pd.DataFrame({"key": rows.keys, "row": np.arange(len(rows))})
    keys["occurrence"] = keys.groupby("key").cumcount()
    return keys
