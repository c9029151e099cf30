"""What was measured of a preset, as a file that is kept: a value for every test row, whoever answered it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

RESULTS = Path(__file__).parents[1] / "results"
"""The folder of the files."""
OURS, UNTOUCHED = "gradus", "untouched"
Metric = Literal["chrf", "accuracy"]
METRIC: dict[str, Metric] = {"instruction": "chrf", "classification": "accuracy"}
"""By pipeline, the metric that a preset's contestants are measured by."""
Floats = NDArray[np.float64]


class Cost(BaseModel):
    """What a training took."""

    minutes: float | None = None
    """From the first step to the last, evaluations among them; None where that was not measured."""
    peak_gb: float | None = None
    """Most memory that its process held, in GB."""
    cpu: str
    precision: str = ""
    """`fp32` or `bf16`; empty where it was not noted."""
    busy: bool
    """Whether other programs ran meanwhile: then the minutes are too many."""


class Outcome(BaseModel):
    """What one contestant answered to the test rows, once."""

    who: str
    """`gradus`, `untouched` (the model before training), a baseline or a peer."""
    seed: int | None = None
    """Of the training, or of the examples that were drawn; None where nothing is drawn."""
    values: list[float]
    """For each test row its chrF, or 1 where the label is right and 0 where it is not."""
    day: str
    trained_parameters: int | None = None
    cost: Cost | None = None
    versions: dict[str, str] = {}
    note: str = ""
    """What else a reader has to know."""


class Outcomes(BaseModel):
    """All that was measured of a preset, on the same test rows."""

    preset: str
    metric: Metric
    train_rows: int
    rows: list[int]
    """The numbers of the test rows."""
    outcomes: list[Outcome] = []

    @classmethod
    def of(cls, preset: str, folder: Path = RESULTS) -> Self | None:
        """Return what is on file of a preset, or None."""
        path = folder / f"{preset}.json"
        return cls.model_validate_json(path.read_text()) if path.is_file() else None

    def write(self, folder: Path = RESULTS) -> None:
        """Write the file, a line an outcome."""
        folder.mkdir(parents=True, exist_ok=True)
        head = self.model_dump_json(exclude={"outcomes"}).removesuffix("}")
        lines = ",\n".join(each.model_dump_json(exclude_defaults=True) for each in self.outcomes)
        (folder / f"{self.preset}.json").write_text(f'{head},"outcomes":[\n{lines}\n]}}\n')

    def add(self, found: Sequence[Outcome]) -> None:
        """Add outcomes, each in the place of an earlier one of the same contestant and seed.

        Raises:
            ValueError: if one has not a value for every test row.
        """
        for each in found:
            if len(each.values) != len(self.rows):
                raise ValueError(f"{each.who} has {len(each.values)} values for {len(self.rows)} rows")
            self.outcomes = [one for one in self.outcomes if (one.who, one.seed) != (each.who, each.seed)] + [each]

    def by(self, who: str) -> list[Outcome]:
        """Return the outcomes of a contestant, by seed."""
        return sorted((each for each in self.outcomes if each.who == who), key=lambda each: each.seed or 0)

    def has(self, who: str, seed: int) -> bool:
        """Tell whether an outcome is on file, of this seed, or of one that does not depend on it."""
        return any(each.seed in {None, seed} for each in self.by(who))

    def mean_values(self, who: str, seeds: Sequence[int] | None = None) -> Floats:
        """Return the mean over seeds, or over those that are given, of each row's value (N)."""
        chosen = [each.values for each in self.by(who) if seeds is None or each.seed in {None, *seeds}]
        return np.asarray(np.mean(chosen, axis=0), np.float64)
