"""Splitting a table of instructions into train, validation and test, with proof that no task stands on both sides."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from components.data.batches import schema
from components.data.reordering import write_in_order
from components.data.row_index import RowIndex, index_instructions
from components.data.sources import InstructionSourceConfig
from components.data.split_config import InstructionSplitConfig
from components.data.splitting import SPLITS, deal, overlaps
from components.errors import ConfigError
from components.records import Facts


def split_instructions(table: Path, config: InstructionSplitConfig, out: Path) -> Facts:
    """Write `train.parquet`, `validation.parquet` and `test.parquet` to `out`; return counts and overlap.

    `overlap` counts the rows of validation and test whose instruction and input stand in train, and the rows of test
    that stand in validation, word for word and folded (`components.data.folding.squeeze`). `tasks` counts the rows of
    each task, those without one in none. In memory is an index of the rows (`components.data.row_index`), no texts.

    Raises:
        ConfigError: if a split would get no row, or the table lacks a column.
    """
    rows = index_instructions(table)
    parts = _cut(rows, config) if config.order == "file" else deal(_strata(rows, config), np.arange(len(rows)), config)
    _refuse_gaps(parts, config)
    columns = schema(InstructionSourceConfig.fields)
    write_in_order(table, {out / f"{name}.parquet": part for name, part in parts.items()}, columns=columns)
    return {
        "rows": {name: len(part) for name, part in parts.items()},
        "overlap": overlaps(rows, parts),
        "tasks": {name: _task_counts(rows, part) for name, part in parts.items()},
    }


def _cut(rows: RowIndex, config: InstructionSplitConfig) -> dict[str, np.ndarray]:
    """Cut the table into train, test and validation, rounding the first two down.

    Raschka, "Build a Large Language Model (From Scratch)", chapter 7.
    """
    train = int(len(rows) * config.fractions.train)
    test = int(len(rows) * config.fractions.test)
    pieces = np.split(np.arange(len(rows)), [train, train + test])
    return dict(zip(SPLITS, (pieces[0], pieces[2], pieces[1]), strict=True))


def _strata(rows: RowIndex, config: InstructionSplitConfig) -> RowIndex:
    """Return the rows with all tasks as one that are too small to give a row to every split: together they may be."""
    smallest = min(config.fractions.model_dump().values())
    small = np.bincount(rows.labels, minlength=1) * smallest < 1
    return replace(rows, labels=np.where(small[rows.labels], len(small), rows.labels))


def _task_counts(rows: RowIndex, part: np.ndarray) -> dict[str, int]:
    counts = np.bincount(rows.labels[part], minlength=len(rows.names))
    # A row without a task has the name None.
    return {name: int(count) for name, count in zip(rows.names, counts, strict=False) if isinstance(name, str)}


def _refuse_gaps(parts: dict[str, np.ndarray], config: InstructionSplitConfig) -> None:
    total = sum(map(len, parts.values()))
    for name, part in parts.items():
        if not len(part):
            copies = ", whose copies stay together" if config.group_duplicates else ""
            raise ConfigError(
                f"the {name} split has no row: there are {total:,} in all; "
                f"give it a larger split.fractions.{name}, or collect more rows{copies}"
            )
