"""Parting rows into train, validation and test, whatever a table holds: as the source says, or by dealing them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from components.core.errors import ConfigError
from components.core.records import Facts
from components.data.batches import mixed, schema
from components.data.split.config import GroupConfig
from components.data.split.dealing import deal_groups, shuffle
from components.data.split.given_splits import SPLITS
from components.data.split.grouping import Groups, group_rows, warn_of_groups
from components.data.split.reordering import write_in_order
from components.data.split.row_index import RowIndex

KINDS = {"exact": "word for word", "folded": "once folded", "near": "as near duplicates"}
PAIRS = {
    "validation": ("train", "validation"),
    "test": ("train", "test"),
    "test_validation": ("validation", "test"),
}
"""By name: in which split it is looked for, and the rows of which split."""


@dataclass
class Parted:
    """The rows of each split by position, in the order in which they are written, and how they came there."""

    parts: dict[str, np.ndarray]
    groups: Groups
    given: Facts | None = None
    """What was given: names of the `splits`, their `overlap` as they came, and rows of train `left_out`."""

    @property
    def sizes(self) -> dict[str, int]:
        """How many rows each split has."""
        return {name: len(part) for name, part in self.parts.items()}


def part(rows: RowIndex, used: np.ndarray, config: GroupConfig) -> Parted:
    """Part the rows at the positions `used`: as the source says, if it does, and otherwise by dealing them."""
    shares = np.array([getattr(config.fractions, name) for name in SPLITS])
    return deal(rows, used, config, shares) if rows.given is None else part_given(rows, config, shares)


def deal(rows: RowIndex, used: np.ndarray, config: GroupConfig, shares: np.ndarray) -> Parted:
    """Shuffle the rows at the positions `used` and deal them to the splits; every one lands in exactly one."""
    shuffled = shuffle(used, config.seed)
    groups = group_rows(rows, used, config)
    if config.group_duplicates or config.stratify:
        first = groups.rows[groups.first]
        # A group with two labels counts for the label it first has.
        strata = rows.labels[first] if config.stratify else None
        keys = rows.folded[first]
        if not config.group_duplicates:  # copies differ by how many of them came before
            texts = rows.exact[first]
            keys = mixed(texts, pd.Series(texts).groupby(texts).cumcount().to_numpy())
        split_of = np.empty(len(rows), np.int8)
        split_of[groups.rows] = deal_groups(keys, groups.sizes, strata, shares, config.seed)[groups.of_row]
        split_of = split_of[shuffled]
    else:  # Cut into three runs, the first two rounded down as the tutorial does.
        train, validation = int(len(used) * shares[0]), int(len(used) * shares[1])
        validation = validation if shares[2] else len(used) - train
        split_of = np.repeat([0, 1, 2], [train, validation, len(used) - train - validation])
    return Parted({name: shuffled[split_of == position] for position, name in enumerate(SPLITS)}, groups)


def part_given(rows: RowIndex, config: GroupConfig, shares: np.ndarray) -> Parted:
    """Take the splits that the source gives as they are, and from train what also stands in them.

    One of validation and test that is not given is dealt from what train has left.
    """
    parts = {name: np.flatnonzero(rows.given == position) for position, name in enumerate(SPLITS)}
    names, train = [name for name in SPLITS[1:] if len(parts[name])], parts["train"]
    if not names or not len(train):
        lacking = "train" if names else "validation or test"
        raise ConfigError(f"no row is left of the given {lacking}; check source.columns.split, or the files' rows")
    left = train
    if config.group_duplicates:
        sides = {"train": train, "held out": np.concatenate([parts[name] for name in names])}
        copies = find_copies(rows, sides, {"train": ("held out", "train")})["train"]
        left = train[~copies["near" if rows.near and config.groups_near_duplicates else "folded"]]
    given: Facts = {"splits": names, "overlap": overlaps(rows, parts), "left_out": len(train) - len(left)}
    given["train"] = len(train)
    shares = np.where([name in names for name in SPLITS], 0, shares)
    dealt = deal(rows, left, config, shares / shares.sum())
    return Parted(dealt.parts | {name: parts[name] for name in names}, dealt.groups, given)


def write_splits(rows: RowIndex, parted: Parted, config: GroupConfig, columns: Iterable[str], out: Path) -> Facts:
    """Write each split with those of `columns` that the table has; return counts, overlap and warnings."""
    files = {out / f"{name}.parquet": part for name, part in parted.parts.items()}
    write_in_order(rows.table, files, schema(columns))
    sizes = parted.groups.sizes
    return {
        "rows": parted.sizes,
        "overlap": overlaps(rows, parted.parts),
        "groups": {"groups": len(sizes), "largest": int(sizes.max(initial=0))},
        "given": parted.given,
        "warnings": [*_warn_of_given(parted.given or {}), *warn_of_groups(rows, parted.groups, config)],
    }


def overlaps(rows: RowIndex, parts: Mapping[str, np.ndarray]) -> dict[str, dict[str, int]]:
    """Count the rows of validation and test that stand in train, and the rows of test that stand in validation.

    `exact` are those word for word, `folded` also those that are equal once folded, `near` also near duplicates; the
    last is missing where these were not looked for.
    """
    found = find_copies(rows, parts, PAIRS)
    return {name: {kind: int(rows.sum()) for kind, rows in kinds.items()} for name, kinds in found.items()}


def find_copies(
    rows: RowIndex, parts: Mapping[str, np.ndarray], pairs: Mapping[str, tuple[str, str]]
) -> dict[str, dict[str, np.ndarray]]:
    """Return for each pair of parts which rows of the second also stand in the first: `exact`, `folded`, `near`."""
    near, bits = rows.near, {name: np.uint8(1 << place) for place, name in enumerate(parts)}
    if near:  # which parts each set of words reaches; the last, none, is for rows without a set
        sides = np.zeros(near.count + 1, np.uint8)
        for name, part in parts.items():
            sides[np.unique(near.of_row[part])] |= bits[name]
        reached = np.append(near.reached(sides[:-1]), np.uint8(0))
    found = {}
    for name, (where, which) in pairs.items():
        known, others = parts[where], parts[which]
        exact = pd.Series(rows.exact[others]).isin(rows.exact[known]).to_numpy()
        folded = exact | pd.Series(rows.folded[others]).isin(rows.folded[known]).to_numpy()
        found[name] = {"exact": exact, "folded": folded}
        if near:
            found[name]["near"] = folded | (reached[near.of_row[others]] & bits[where]).astype(bool).any(axis=1)
    return found


def _warn_of_given(given: Facts) -> list[str]:
    names, warnings = given.get("splits", []), []
    for name in names:
        counts = given["overlap"][name]
        if any(counts.values()):
            what = ", ".join(f"{count:,} {KINDS[kind]}" for kind, count in counts.items())
            warnings.append(f"rows of the given {name} that also stand in train as it came: {what}")
    if given.get("left_out"):
        warnings.append(
            f"{given['left_out']:,} of {given['train']:,} rows of train were left out, since they also stand in the "
            f"given {' and '.join(names)}"
        )
    if len(names) == 2 and (both := max(given["overlap"]["test_validation"].values())):
        warnings.append(
            f"{both:,} rows of the given test also stand in the given validation; both are taken as they are"
        )
    return warnings
