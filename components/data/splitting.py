"""Splitting a table into train, validation and test, with proof that no text stands on both sides."""

from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from components.data.balancing import class_weights, draw, undersample
from components.data.reordering import write_in_order
from components.data.row_index import RowIndex, index_rows
from components.data.split_config import BalanceConfig, Fractions, SplitConfig
from components.errors import ConfigError
from components.records import Facts

SPLITS = ("train", "validation", "test")


class HowToDeal(Protocol):
    """What a split of any kind of table is told."""

    @property
    def fractions(self) -> Fractions:
        """Share of the rows in each split."""

    @property
    def seed(self) -> int:
        """Seed of the shuffle."""

    @property
    def group_duplicates(self) -> bool:
        """Whether rows that are folded to the same stay in one split."""

    @property
    def stratify(self) -> bool:
        """Whether every split gets the same share of each label."""


def split(
    table: Path,
    config: SplitConfig,
    balance: BalanceConfig,
    labels: list[str],
    out: Path,
    ordered: bool = False,
) -> Facts:
    """Write `train.parquet`, `validation.parquet` and `test.parquet` to `out`; return counts and overlap.

    The facts' `shares` are those of the labels in the training split before it was balanced, `majority` is the most
    frequent of them. `overlap` counts
    the rows of validation and test that stand in train, and the rows of test that stand in validation.
    `class_weights` are in the order of `labels`, or None unless `balance.method` asks for them; `ordered` is passed on.
    In memory is an index of the rows (`components.data.row_index`), not the texts.

    Raises:
        ConfigError: if a split would get no row, or no row of a class.
    """
    rows = index_rows(table, labels)
    used = np.arange(len(rows))
    undersampled = balance.method == "undersample"
    if undersampled and balance.when == "before_split":
        used = undersample(rows.labels, len(labels), balance.seed)
    parts = deal(rows, used, config)
    dealt = {name: len(part) for name, part in parts.items()}
    shares = _shares(rows, parts["train"], labels)
    if undersampled and balance.when == "train_only":
        train = parts["train"]
        parts["train"] = draw(train[undersample(rows.labels[train], len(labels), balance.seed)], config.seed)
    classes = {name: class_counts(rows, part, labels) for name, part in parts.items()}
    _refuse_gaps(classes, config)
    write_in_order(table, {out / f"{name}.parquet": part for name, part in parts.items()})
    return {
        "labels": list(labels),
        "ordered": ordered,
        "rows": {name: len(part) for name, part in parts.items()},
        "rows_before_balancing": dealt,
        "classes": classes,
        "class_weights": class_weights(classes["train"]) if balance.method == "class_weight" else None,
        "majority": labels[shares.index(max(shares))],
        "shares": shares,
        "overlap": overlaps(rows, parts),
    }


def deal(rows: RowIndex, used: np.ndarray, config: HowToDeal) -> dict[str, np.ndarray]:
    """Shuffle the rows at the positions `used` and deal them to the three splits; every one lands in exactly one."""
    shuffled = draw(used, config.seed)
    if config.group_duplicates or config.stratify:
        split_of = _assign(rows, shuffled, config)
    else:
        split_of = _cut(len(shuffled), config.fractions)
    return {name: shuffled[split_of == position] for position, name in enumerate(SPLITS)}


def overlaps(rows: RowIndex, parts: dict[str, np.ndarray]) -> dict[str, dict[str, int]]:
    """Count the rows of validation and test that stand in train, and the rows of test that stand in validation."""
    return {
        "validation": overlap(rows, parts["train"], parts["validation"]),
        "test": overlap(rows, parts["train"], parts["test"]),
        "test_validation": overlap(rows, parts["validation"], parts["test"]),
    }


def overlap(rows: RowIndex, train: np.ndarray, other: np.ndarray) -> dict[str, int]:
    """Count the rows of `other` whose text stands in `train` (or any other split): word for word, and folded."""
    return {
        "exact": int(pd.Series(rows.exact[other]).isin(rows.exact[train]).sum()),
        "folded": int(pd.Series(rows.folded[other]).isin(rows.folded[train]).sum()),
    }


def class_counts(rows: RowIndex, part: np.ndarray, labels: list[str]) -> dict[str, int]:
    """Return the number of rows of each label, in the order of `labels`."""
    counts = np.bincount(rows.labels[part], minlength=len(labels))
    return {label: int(counts[position]) for position, label in enumerate(labels)}


def _shares(rows: RowIndex, train: np.ndarray, labels: list[str]) -> list[float]:
    """Return the share of each label among the rows of `train`; of none, each has the same."""
    counts = np.array(list(class_counts(rows, train, labels).values()), np.float64)
    shares: list[float] = (counts / counts.sum() if counts.sum() else np.full(len(labels), 1 / len(labels))).tolist()
    return shares


def _cut(rows: int, fractions: Fractions) -> np.ndarray:
    """Cut shuffled rows into three runs, rounding the first two down as the tutorial does."""
    train = int(rows * fractions.train)
    validation = int(rows * fractions.validation)
    return np.repeat([0, 1, 2], [train, validation, rows - train - validation])


def _assign(rows: RowIndex, shuffled: np.ndarray, config: HowToDeal) -> np.ndarray:
    """Return the split (0, 1, 2) of every row, dealing whole groups so that each class meets its shares.

    Groups are dealt largest first, each to the split that is furthest below its share of the group's class;
    the many groups of one text come last and even out what the large ones left.
    """
    if config.group_duplicates:
        # Numbered as they appear, so a number that is larger than all before it begins a group.
        group = pd.factorize(rows.folded[shuffled], size_hint=len(shuffled))[0]
        first = np.flatnonzero(np.diff(np.maximum.accumulate(group), prepend=-1))
    else:
        group = first = np.arange(len(shuffled))
    sizes = np.bincount(group, minlength=len(first))
    # A text with two labels counts for the label it first has.
    stratum_of = rows.labels[shuffled[first]] if config.stratify else np.zeros(len(first), np.int32)
    split_of_group = np.empty(len(first), np.int8)
    for stratum in np.unique(stratum_of):
        groups = np.flatnonzero(stratum_of == stratum)
        groups = groups[np.argsort(-sizes[groups], kind="stable")]
        split_of_group[groups] = _fill(sizes[groups], config.fractions)
    return split_of_group[group]


def _fill(sizes: np.ndarray, fractions: Fractions) -> np.ndarray:
    """Return the split of each group of a class: always the one that lacks most of its share."""
    total = int(sizes.sum())
    train, validation, test = (share * total for share in (fractions.train, fractions.validation, fractions.test))
    chosen = np.zeros(len(sizes), np.int8)
    # Spelled out, for there may be millions of groups.
    for position, size in enumerate(sizes.data):
        if train >= validation and train >= test:
            train -= size
        elif validation >= test:
            validation -= size
            chosen[position] = 1
        else:
            test -= size
            chosen[position] = 2
    return chosen


def _refuse_gaps(classes: dict[str, dict[str, int]], config: SplitConfig) -> None:
    """Raise ConfigError if a split lacks a class, with what helps: more rows, or another way to split."""
    for name, counts in classes.items():
        missing = [label for label, count in counts.items() if count == 0]
        if missing:
            named = ", ".join(map(repr, missing))
            raise ConfigError(f"the {name} split has no row labelled {named}; {_advice(classes, missing, config)}")


def _advice(classes: dict[str, dict[str, int]], missing: list[str], config: SplitConfig) -> str:
    total = min(sum(counts[label] for counts in classes.values()) for label in missing)
    if total < len(SPLITS):
        return (
            f"there {'is 1 row' if total == 1 else f'are {total} rows'} for three splits: collect more, "
            "or take the class out of validation.labels"
        )
    if not config.stratify:
        return "set split.stratify=true, or collect more rows of that class"
    copies = ", whose near duplicates stay together" if config.group_duplicates else ""
    return f"give it a larger split.fractions, or collect more rows of that class{copies}"
