"""Splitting a table of instructions into train, validation and test, and counting what stands on both sides."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from components.core.errors import ConfigError
from components.core.records import Facts
from components.data.sources import InstructionSourceConfig
from components.data.split.config import InstructionSplitConfig
from components.data.split.given_splits import SPLIT, SPLITS
from components.data.split.grouping import Groups, describe_largest, with_near_duplicates
from components.data.split.parting import Parted, part, write_splits
from components.data.split.row_index import RowIndex, index_instructions


def split_instructions(table: Path, config: InstructionSplitConfig, out: Path) -> Facts:
    """Write `train.parquet`, `validation.parquet` and `test.parquet` to `out`; return counts and overlap.

    A table with a column `split` is parted as that says (`parting.part_given`). `overlap` counts the rows of
    validation and test whose instruction and input stand in train, and the rows of test that stand in validation: word
    for word, folded (`folding.normalize_text`), and as near duplicates. `tasks` counts the rows of each task, those
    without one in none. In memory is an index of the rows (`split.row_index`), and up to 200,000 rows their words, not
    the texts.

    Raises:
        ConfigError: if a split would get no row, or the table lacks a column.
    """
    rows = with_near_duplicates(index_instructions(table), True, config)
    if config.order == "file":
        parted = _cut(rows, config)
    else:
        # All tasks as one that are too small to give a row to every split: together they may be large enough.
        small = np.bincount(rows.labels, minlength=1) * min(config.fractions.model_dump().values()) < 1
        dealt = replace(rows, labels=np.where(small[rows.labels], len(small), rows.labels))
        parted = part(dealt, np.arange(len(rows)), config)
    for name, count in parted.sizes.items():
        if not count:
            advice = f"give it a larger split.fractions.{name}, or collect more rows"
            if parted.groups.sizes.max(initial=0) > 1:
                advice = f"{describe_largest(rows, parted.groups, np.ones(len(rows), bool))}, or {advice}"
            total = sum(parted.sizes.values())
            raise ConfigError(f"the {name} split has no row: there are {total:,} in all; {advice}")
    columns = [name for name in InstructionSourceConfig.fields if name != SPLIT]
    tasks = {name: rows.counts(part) for name, part in parted.parts.items()}
    return {"tasks": tasks, **write_splits(rows, parted, config, columns, out)}


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
