"""Which rows stay together: those that are folded to the same, and near duplicates, however many steps apart."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from pyarrow.dataset import dataset

from components.data.split.config import GroupConfig
from components.data.split.near_duplicates import NearDuplicates
from components.data.split.row_index import RowIndex

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


def with_near_duplicates(rows: RowIndex, keep_digits: bool, config: GroupConfig) -> RowIndex:
    """Return the index of rows with their near duplicates, or without where there are too many rows for that."""
    if len(rows) > MOST_ROWS and config.group_near_duplicates is not True:
        return rows
    return replace(rows, near=NearDuplicates(rows.table, rows.columns, keep_digits))


def group_rows(rows: RowIndex, used: np.ndarray, config: GroupConfig) -> Groups:
    """Put the rows at the positions `used` into groups; each is one of its own if duplicates are not grouped."""
    used = np.sort(used)
    if not config.group_duplicates:
        return Groups(used, np.arange(len(used)))
    folded = pd.factorize(rows.folded[used], size_hint=len(used))[0]
    near = rows.near
    if near is None or not config.groups_near_duplicates:
        return Groups(used, folded)
    texts = folded + near.count
    sets = near.of_row[used]
    there = sets >= 0
    every = np.broadcast_to(texts[:, None], sets.shape)
    labels = near.components(sets[there], every[there], near.count + int(folded.max(initial=-1)) + 1)
    return Groups(used, pd.factorize(labels[texts])[0])


def warn_of_groups(rows: RowIndex, groups: Groups, config: GroupConfig) -> list[str]:
    """Return a sentence for each group so large that it skews the splits, and one if not all were looked for."""
    sizes, total, warnings = groups.sizes, len(groups.rows), []
    if total > MOST_ROWS and config.groups_near_duplicates and config.group_near_duplicates is not True:
        warnings.append(
            f"near duplicates were not looked for, since there are over {MOST_ROWS:,} rows; texts that are folded to "
            "the same are still kept together; set split.group_near_duplicates=true to look for them all the same"
        )
    large = np.flatnonzero(sizes > LARGE_SHARE * total)
    for group in large[np.argsort(-sizes[large], kind="stable")]:
        what = f"{sizes[group]:,} of {total:,} rows ({sizes[group] / total:.1%})"
        shown = _first_text(rows, groups, int(group))
        warnings.append(f"{what} are one group of near duplicates, such as {shown}, and stay in one split")
    return warnings


def _first_text(rows: RowIndex, groups: Groups, group: int) -> str:
    """Return the beginning of the first text of a group, on one line and in quotes."""
    position = int(groups.rows[groups.first[group]])
    row = dataset(rows.table, format="parquet").take([position], columns=rows.columns).to_pylist()[0]
    text = " ".join(" ".join(cell or "" for cell in row.values()).split())
    return f'"{text[:SHOWN]}{"…" if len(text) > SHOWN else ""}"'


def describe_largest(rows: RowIndex, groups: Groups, chosen: np.ndarray) -> str:
    """Say which group holds most of the rows for which `chosen` (rows) is true, and what takes it apart."""
    sizes = np.bincount(groups.of_row[chosen[groups.rows]], minlength=len(groups.sizes))
    group = int(sizes.argmax())
    members = groups.rows[groups.of_row == group]
    what, key = "copies of a text", "group_duplicates"
    if len(np.unique(rows.folded[members])) > 1:
        what, key = "near duplicates (word sets of Jaccard 0.8 and more)", "group_near_duplicates"
    elif len(np.unique(rows.exact[members])) > 1:
        what = rows.folds
    shown = _first_text(rows, groups, group)
    return (
        f"{sizes[group]:,} of its {sizes.sum():,} rows are {what}, such as {shown}, which stay in one split; "
        f"set split.{key}=false to deal them one by one"
    )
