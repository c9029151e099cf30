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
    found = find_copies(rows, parts, PAIRS, near)
    return {name: {kind: int(rows.sum()) for kind, rows in kinds.items()} for name, kinds in found.items()}


def find_copies(
    rows: RowIndex, parts: Mapping[str, np.ndarray], pairs: Mapping[str, tuple[str, str]], near: NearDuplicates | None
) -> dict[str, dict[str, np.ndarray]]:
    """Return for each pair of parts which rows of the second also stand in the first: `exact`, `folded`, `near`."""
    bits = {name: np.uint8(1 << place) for place, name in enumerate(parts)}
    reached = _reached(parts, bits, near) if near else None
    found = {}
    for name, (where, which) in pairs.items():
        known, others = parts[where], parts[which]
        exact = pd.Series(rows.exact[others]).isin(rows.exact[known]).to_numpy()
        folded = exact | pd.Series(rows.folded[others]).isin(rows.folded[known]).to_numpy()
        found[name] = {"exact": exact, "folded": folded}
        if near and reached is not None:
            sides = reached[near.sets.of_row[others]] & bits[where]
            found[name]["near"] = folded | sides.astype(bool).any(axis=1)
    return found


def _reached(parts: Mapping[str, np.ndarray], bits: Mapping[str, np.uint8], near: NearDuplicates) -> np.ndarray:
    """Return the parts that each set of words reaches, as bits; the last, none, is for rows without a set."""
    sides = np.zeros(len(near.sets) + 1, np.uint8)
    for name, part in parts.items():
        sides[np.unique(near.sets.of_row[part])] |= bits[name]
    return np.append(near.reached(sides[:-1]), np.uint8(0))
