"""Splitting a table of instructions into train, validation and test, and counting what stands on both sides."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from components.core.errors import ConfigError
from components.core.records import Facts
from components.data.batches import schema
from components.data.sources import InstructionSourceConfig
from components.data.split.config import InstructionSplitConfig
from components.data.split.given_splits import SPLIT, SPLITS
from components.data.split.grouping import Groups, look_for_near_duplicates
from components.data.split.labelled import Parted, filled_by, part
from components.data.split.overlaps import overlaps
from components.data.split.reordering import write_in_order
from components.data.split.row_index import RowIndex, index_instructions

ASKED = ["instruction", "input"]


def split_instructions(table: Path, config: InstructionSplitConfig, out: Path) -> Facts:
    """Write `train.parquet`, `validation.parquet` and `test.parquet` to `out`; return counts and overlap.

    A table with a column `split` is parted as that says (`split.labelled.part_given`). `overlap` counts the rows of
    validation and test whose instruction and input stand in train, and the rows of test that stand in validation: word
    for word, folded (`split.folding.squeeze`), and as near duplicates. `tasks` counts the rows of each task, those
    without one in none. In memory is an index of the rows (`split.row_index`), and up to 200,000 rows their words, not
    the texts.

    Raises:
        ConfigError: if a split would get no row, or the table lacks a column.
    """
    rows = index_instructions(table)
    near = look_for_near_duplicates(table, ASKED, True, len(rows), config)
    if config.order == "file":
        parted = _cut(rows, config)
    else:
        parted = part(_strata(rows, config), np.arange(len(rows)), near, config)
    _refuse_gaps(table, rows, parted)
    columns = schema(name for name in InstructionSourceConfig.fields if name != SPLIT)
    write_in_order(table, {out / f"{name}.parquet": each for name, each in parted.parts.items()}, columns=columns)
    return {
        "rows": {name: len(each) for name, each in parted.parts.items()},
        "overlap": overlaps(rows, parted.parts, near),
        "tasks": {name: _task_counts(rows, each) for name, each in parted.parts.items()},
        **parted.facts(table, ASKED, config),
    }


def _cut(rows: RowIndex, config: InstructionSplitConfig) -> Parted:
    """Cut the table into train, test and validation, rounding the first two down.

    Raschka, "Build a Large Language Model (From Scratch)", chapter 7.
    """
    if rows.given is not None:
        raise ConfigError("split.order=file cuts a file whose splits the source gives: leave one of the two out")
    train = int(len(rows) * config.fractions.train)
    test = int(len(rows) * config.fractions.test)
    every = np.arange(len(rows))
    pieces = np.split(every, [train, train + test])
    return Parted(dict(zip(SPLITS, (pieces[0], pieces[2], pieces[1]), strict=True)), Groups(every, every))


def _strata(rows: RowIndex, config: InstructionSplitConfig) -> RowIndex:
    """Return the rows with all tasks as one that are too small to give a row to every split: together they may be."""
    smallest = min(config.fractions.model_dump().values())
    small = np.bincount(rows.labels, minlength=1) * smallest < 1
    return replace(rows, labels=np.where(small[rows.labels], len(small), rows.labels))


def _task_counts(rows: RowIndex, part: np.ndarray) -> dict[str, int]:
    counts = np.bincount(rows.labels[part], minlength=len(rows.names))
    # A row without a task has the name None.
    return {name: int(count) for name, count in zip(rows.names, counts, strict=False) if isinstance(name, str)}


def _refuse_gaps(table: Path, rows: RowIndex, parted: Parted) -> None:
    total = sum(map(len, parted.parts.values()))
    for name, rows_of_it in parted.parts.items():
        if not len(rows_of_it):
            advice = f"give it a larger split.fractions.{name}, or collect more rows"
            if parted.groups.sizes.max(initial=0) > 1:
                every = np.ones(len(rows), bool)
                advice = f"{filled_by(table, ASKED, rows, parted.groups, every)}, or {advice}"
            raise ConfigError(f"the {name} split has no row: there are {total:,} in all; {advice}")
