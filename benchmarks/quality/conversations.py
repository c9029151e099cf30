"""The entries of a preset as its run has them: the same split files, from the store, and the starting weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from components.core.records import Manifest
from components.tasks import download, fetch_weights
from components.tasks.instruction import split, validate
from components.tasks.shared import weights_folder
from pipelines.kinds.instruction.config import InstructionConfig

Entry = dict[str, Any]
"""`instruction`, `input` and `output`."""


@dataclass(frozen=True)
class Material:
    """What every contestant of a preset gets."""

    splits: Manifest
    weights: Path
    """A folder in the layout of `transformers`."""

    @classmethod
    def of(cls, config: InstructionConfig) -> "Material":
        """Return what the run of a config takes from the store, made where it is not there yet."""
        source = download.without_prefect(config.source)
        table = validate.without_prefect(source, config.validation, config.prompt, config.model)
        folder = weights_folder(fetch_weights.without_prefect(config.model))
        assert folder
        return cls(split.without_prefect(table, config.split), folder)

    def entries(self, name: str) -> list[Entry]:
        """Return the entries of a split; those of the test split by their rows' numbers, as outcomes have them."""
        frame = pd.read_parquet(self.splits.path(f"{name}.parquet"))
        return (frame.sort_values("row") if name == "test" else frame).to_dict("records")  # type: ignore[return-value]
