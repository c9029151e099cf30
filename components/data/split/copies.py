"""Which rows of a table repeat others: word for word, once folded, or as near duplicates with the same answer."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from components.data.batches import mixed
from components.data.split.config import GroupConfig
from components.data.split.grouping import group_rows
from components.data.split.row_index import RowIndex

WHY = ("a copy word for word", "a copy once folded", "a near duplicate with the same answer")
"""Why a row repeats an earlier one, from the closest on."""


@dataclass(frozen=True)
class Copies:
    """The rows of a table that repeat earlier ones."""

    why: np.ndarray
    """int8 (rows): position in `WHY`, or -1 for a row that repeats none."""

    @property
    def first(self) -> np.ndarray:
        """The positions of the rows that repeat none, int64."""
        return np.flatnonzero(self.why < 0)

    def counts(self) -> dict[str, int]:
        """Return how many rows repeat an earlier one in which way."""
        return {reason: int((self.why == number).sum()) for number, reason in enumerate(WHY)}


def find_repeated(rows: RowIndex, answers: np.ndarray, same_answer: bool, config: GroupConfig) -> Copies:
    """Return which rows repeat an earlier one of the same split, where the source gives splits.

    Args:
        rows: the rows; their near duplicates count if they were looked for (`grouping.with_near_duplicates`).
        answers: a hash of the label or the response of each, uint64 (rows).
        same_answer: whether only rows with the same answer are copies; near duplicates are never without.
        config: how rows are grouped: what is not kept together is no duplicate.
    """
    every = np.arange(len(rows))
    own = answers if same_answer else np.zeros(len(rows), np.uint64)
    keys = [mixed(rows.exact, own), mixed(rows.folded, own)]
    if rows.near and config.groups_near_duplicates:
        keys.append(mixed(answers, group_rows(rows, every, config).of_row.astype(np.uint64)))
    why = np.full(len(rows), -1, np.int8)
    for number, key in reversed(list(enumerate(keys))):
        parts = key if rows.given is None else mixed(key, rows.given.astype(np.uint64))
        why[pd.Series(parts).duplicated().to_numpy()] = number
    return Copies(why)
