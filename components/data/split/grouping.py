"""Which rows stay together: those that are folded to the same, and near duplicates, however many steps apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from components.data.batches import batches_of
from components.data.split.config import GroupConfig
from components.data.split.near_duplicates import NearDuplicates
from components.data.split.row_index import RowIndex
from components.data.split.word_sets import read_word_sets

MOST_ROWS = 200_000
"""Rows up to which near duplicates are looked for unless the config says otherwise: their words are in memory."""

LARGE_SHARE = 0.05
"""Share of the rows from which on a group is warned of."""

SHOWN = 60
"""Characters of a text that a message shows."""


@dataclass(frozen=True)
class Groups:
    """Rows in groups; a group is numbered by where its first row stands."""

    rows: np.ndarray
    """int64 (rows): positions in the table, ascending."""
    of_row: np.ndarray
    """int64 (rows): the group of each."""

    @property
    def first(self) -> np.ndarray:
        """Where in `rows` each group's first row is, int64 (groups)."""
        # Numbered as they appear, so a number that is larger than all before it begins a group.
        return np.flatnonzero(np.diff(np.maximum.accumulate(self.of_row), prepend=-1))

    @property
    def sizes(self) -> np.ndarray:
        """How many rows each group has, int64 (groups)."""
        return np.bincount(self.of_row)


def look_for_near_duplicates(
    table: Path, columns: Sequence[str], digits: bool, rows: int, config: GroupConfig
) -> NearDuplicates | None:
    """Return the near duplicates of a table's texts, or None where there are too many rows for that."""
    if rows > MOST_ROWS and config.group_near_duplicates is not True:
        return None
    return NearDuplicates(read_word_sets(table, columns, digits))


def group_rows(rows: RowIndex, used: np.ndarray, near: NearDuplicates | None, config: GroupConfig) -> Groups:
    """Put the rows at the positions `used` into groups; each is one of its own if duplicates are not grouped."""
    used = np.sort(used)
    if not config.group_duplicates:
        return Groups(used, np.arange(len(used)))
    folded = pd.factorize(rows.folded[used], size_hint=len(used))[0]
    if near is None or not config.groups_near_duplicates:
        return Groups(used, folded)
    texts = folded + len(near.sets)
    sets = near.sets.of_row[used]
    there = sets >= 0
    every = np.broadcast_to(texts[:, None], sets.shape)
    labels = near.components(sets[there], every[there], len(near.sets) + int(folded.max(initial=-1)) + 1)
    return Groups(used, pd.factorize(labels[texts])[0])


def warn_of_groups(table: Path, columns: Sequence[str], groups: Groups, config: GroupConfig) -> list[str]:
    """Return a sentence for each group that is so large that it skews the splits, and one if not all were looked for.

    `columns` are those of the text.
    """
    sizes, total, warnings = groups.sizes, len(groups.rows), []
    if total > MOST_ROWS and config.groups_near_duplicates and config.group_near_duplicates is not True:
        warnings.append(
            f"near duplicates were not looked for, since there are over {MOST_ROWS:,} rows; texts that are folded to "
            "the same are still kept together; set split.group_near_duplicates=true to look for them all the same"
        )
    large = np.flatnonzero(sizes > LARGE_SHARE * total)
    for group in large[np.argsort(-sizes[large], kind="stable")]:
        what = f"{sizes[group]:,} of {total:,} rows ({sizes[group] / total:.1%})"
        shown = first_text(table, columns, groups, int(group))
        warnings.append(f"{what} are one group of near duplicates, such as {shown}, and stay in one split")
    return warnings


def first_text(table: Path, columns: Sequence[str], groups: Groups, group: int) -> str:
    """Return the beginning of the first text of a group, on one line and in quotes."""
    position, done = int(groups.rows[groups.first[group]]), 0
    with pq.ParquetFile(table, pre_buffer=False) as file:
        for batch in batches_of(file, list(columns)):
            if position < done + batch.num_rows:
                cells = [batch[name][position - done].as_py() for name in columns]
                text = " ".join(" ".join(filter(None, cells)).split())
                return f'"{text[:SHOWN]}{"…" if len(text) > SHOWN else ""}"'
            done += batch.num_rows
    raise IndexError(position)


def why_together(rows: RowIndex, groups: Groups, group: int) -> tuple[str, str]:
    """Return what the texts of a group have in common, and the setting that takes it apart."""
    members = groups.rows[groups.of_row == group]
    if len(np.unique(rows.folded[members])) > 1:
        return "near duplicates (word sets of Jaccard 0.8 and more)", "split.group_near_duplicates=false"
    if len(np.unique(rows.exact[members])) > 1:
        return rows.folds, "split.group_duplicates=false"
    return "copies of a text", "split.group_duplicates=false"
