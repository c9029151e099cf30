"""Which rows a model was trained on, as hashes: they are no test for it, nor for a model that continues it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.core.records import Facts

LEARNED = "learned.parquet"
"""File of a step, and artifact of a run: the hashes of its training rows; of a run's step `fetch_weights`: those of
all models that it continues. Two rows have one hash where they count as the same but for what a near duplicate
changes."""

Hashes = NDArray[np.uint64]
NONE: Hashes = np.empty(0, np.uint64)


def write_learned(hashes: Hashes, path: Path) -> None:
    """Write hashes of rows, each once."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"row": np.unique(hashes)}), path)


def read_learned(path: Path) -> Hashes:
    """Return the hashes that `write_learned` wrote."""
    import pyarrow.parquet as pq

    return np.asarray(pq.read_table(path)["row"].to_numpy(), np.uint64)


@dataclass(frozen=True)
class Ancestry:
    """What the models that a model continues were trained on, back to the first."""

    rows: Hashes = field(default_factory=lambda: NONE, repr=False)
    pipelines: Mapping[str, str | None] = field(default_factory=dict)
    """The models, and the flow that made each: its rows can be matched with those of the same flow only. Empty where
    an old run does not say it; None where the training rows are not known, as the run is gone or says nothing of
    them."""

    def facts(self) -> Facts:
        """Return the same without the rows."""
        return {"ancestors": dict(self.pipelines)}

    @classmethod
    def of(cls, facts: Facts, path: Path) -> "Ancestry":
        """Return what `facts` and `write_learned` have kept."""
        return cls(read_learned(path), facts["ancestors"])

    def unknown(self, flow: Collection[str]) -> tuple[str, ...]:
        """Return the models of which it is not known whether they learned from rows of a flow, known by these names."""
        return tuple(model for model, made_by in self.pipelines.items() if made_by not in flow)

    def tested(self, hashes: Hashes, flow: Collection[str]) -> "TestedRows":
        """Say which of N test rows of a flow, known by these names, no ancestor was trained on."""
        return TestedRows(~np.isin(hashes, self.rows), self.unknown(flow))


NO_ANCESTRY = Ancestry()


@dataclass(frozen=True)
class TestedRows:
    """Which test rows figures are taken on, where a model continues an earlier one."""

    __test__ = False  # pytest would take it for a test

    unseen: NDArray[np.bool_]
    """Which of the N test rows no ancestor was trained on."""
    unknown: Sequence[str] = ()

    @property
    def counted(self) -> NDArray[np.bool_]:
        """Which rows (N) count: all of them where none is unseen, as no figure could be taken otherwise."""
        return self.unseen if self.unseen.any() else np.ones_like(self.unseen)

    @property
    def left_out(self) -> int:
        """How many rows do not count."""
        return int((~self.counted).sum())

    def facts(self) -> dict[str, Any]:
        """Return how many rows an ancestor was trained on, and what is not known."""
        return {
            "rows": len(self.unseen),
            "learned": int((~self.unseen).sum()),
            "left_out": self.left_out,
            "unknown": list(self.unknown),
        }

    def sentences(self) -> list[str]:
        """Return what has to be said of the figures."""
        said = []
        if self.left_out:
            said.append(
                f"Left out are {self.left_out:,} of {len(self.unseen):,} test rows, which an earlier model that this "
                "one continues was trained on."
            )
        elif not self.unseen.all():
            said.append(
                f"All {len(self.unseen):,} test rows are ones that an earlier model, which this one continues, was "
                "trained on: these figures are no test."
            )
        said += [f"What {model} was trained on is not known: test rows may be among it." for model in self.unknown]
        return said
