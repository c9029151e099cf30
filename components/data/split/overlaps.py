"""How many rows of a split also stand in another: word for word, folded, and as near duplicates."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from components.data.split.near_duplicates import NearDuplicates
from components.data.split.row_index import RowIndex

PAIRS = {
    "validation": ("train", "validation"),
    "test": ("train", "test"),
    "test_validation": ("validation", "test"),
}
"""By name: in which split it is looked for, and the rows of which split."""


def overlaps(rows: RowIndex, parts: Mapping[str, np.ndarray], near: NearDuplicates | None) -> dict[str, dict[str, int]]:
    """Count the rows of validation and test that stand in train, and the rows of test that stand in validation.

    `exact` are those word for word, `folded` also those that are equal once folded, `near` also near duplicates; the
    last is missing where these were not looked for.
    """
    found = {}
    bits = {name: np.uint8(1 << place) for place, name in enumerate(parts)}
    reached = _reached(parts, bits, near) if near else None
    for name, (where, which) in PAIRS.items():
        known, others = parts[where], parts[which]
        folded = _is_in(rows.folded[others], rows.folded[known])
        found[name] = {"exact": int(_is_in(rows.exact[others], rows.exact[known]).sum()), "folded": int(folded.sum())}
        if near and reached is not None:
            found[name]["near"] = int((folded | has_side(near, reached, others, bits[where])).sum())
    return found


def _reached(parts: Mapping[str, np.ndarray], bits: Mapping[str, np.uint8], near: NearDuplicates) -> np.ndarray:
    sides = np.zeros(len(near.sets) + 1, np.uint8)  # The last is for rows without a set.
    for name, part in parts.items():
        sides[np.unique(near.sets.of_row[part])] |= bits[name]
    return near.reached(sides[:-1])


def leaks(
    rows: RowIndex, train: np.ndarray, held_out: np.ndarray, near: NearDuplicates | None
) -> dict[str, np.ndarray]:
    """Return which rows of train stand in what is held out: `exact`, `folded` and, if looked for, `near`."""
    found = {"exact": _is_in(rows.exact[train], rows.exact[held_out])}
    found["folded"] = found["exact"] | _is_in(rows.folded[train], rows.folded[held_out])
    if near:
        bits = {"train": np.uint8(1), "held out": np.uint8(2)}
        reached = _reached({"train": train, "held out": held_out}, bits, near)
        found["near"] = found["folded"] | has_side(near, reached, train, bits["held out"])
    return found


def has_side(near: NearDuplicates, reached: np.ndarray, rows: np.ndarray, bit: np.uint8) -> np.ndarray:
    """Return which rows have a set of words that reaches a side."""
    padded = np.append(reached, np.uint8(0))
    found: np.ndarray = (padded[near.sets.of_row[rows]] & bit).astype(bool).any(axis=1)
    return found


def _is_in(hashes: np.ndarray, known: np.ndarray) -> np.ndarray:
    found: np.ndarray = pd.Series(hashes).isin(known).to_numpy()
    return found
