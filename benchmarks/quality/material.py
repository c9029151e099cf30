"""What every contestant of a preset gets: the split files of its run, from the store, and the starting weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from components import tasks
from components.core.records import Manifest
from components.tasks import instruction
from components.tasks.shared import weights_folder
from pipelines.kinds.instruction.config import InstructionConfig

Row = dict[str, Any]
"""`instruction`, `input` and `output`, or `text` and `label`; and its number, `row`."""


@dataclass(frozen=True)
class Material:
    """The splits, and the weights as a folder in the layout of `transformers`."""

    splits: Manifest
    weights: Path

    @classmethod
    def of(cls, config: Any) -> "Material":
        """Return what the run of a preset takes from the store, made where it is not there yet."""
        source = tasks.download.without_prefect(config.source)
        if isinstance(config, InstructionConfig):
            table = instruction.validate.without_prefect(source, config.validation, config.prompt, config.model)
            splits = instruction.split.without_prefect(table, config.split)
        else:
            table = tasks.validate.without_prefect(source, config.validation)
            splits = tasks.split.without_prefect(table, config.split, config.balance)
        folder = weights_folder(tasks.fetch_weights.without_prefect(config.model))
        assert folder
        return cls(splits, folder)

    @property
    def numbers(self) -> dict[str, Any]:
        """Return what `Answered` says of the rows: how many are trained on, and the numbers of those tested on."""
        return {"train_rows": len(self.rows("train")), "rows": [row["row"] for row in self.rows("test")]}

    def rows(self, name: str) -> list[Row]:
        """Return the rows of a split; those of the test split by their numbers, as outcomes have them."""
        frame = pd.read_parquet(self.splits.path(f"{name}.parquet"))
        return (frame.sort_values("row") if name == "test" else frame).to_dict("records")  # type: ignore[return-value]
