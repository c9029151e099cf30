"""Splitting a table into train, validation and test, and counting what stands on both sides."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from components.core.errors import ConfigError
from components.core.records import Facts
from components.data.split.balancing import class_weights, draw, undersample
from components.data.split.config import BalanceConfig, Fractions, GroupConfig, SplitConfig
from components.data.split.dealing import deal_groups
from components.data.split.given_splits import SPLITS
from components.data.split.grouping import (
    Groups,
    first_text,
    group_rows,
    look_for_near_duplicates,
    warn_of_groups,
    why_together,
)
from components.data.split.near_duplicates import NearDuplicates
from components.data.split.overlaps import leaks, overlaps
from components.data.split.reordering import write_in_order
from components.data.split.row_index import RowIndex, index_rows

TEXT = ["text"]
KINDS = {"exact": "word for word", "folded": "once folded", "near": "as near duplicates"}


def split(
    table: Path,
    config: SplitConfig,
    balance: BalanceConfig,
    labels: list[str],
    out: Path,
    ordered: bool = False,
) -> Facts:
    """Write `train.parquet`, `validation.parquet` and `test.parquet` to `out`; return counts and overlap.

    A table with a column `split` is parted as that says (`part_given`). The facts' `shares` are those
    of the labels in the training split before it was balanced, and `majority` is the most frequent of them. `overlap`
    counts the rows of validation and test that stand in train, and the rows of test that stand in validation.
    `class_weights` are in the order of `labels`, or None unless `balance.method` asks for them; `ordered` is passed
    on. In memory is an index of the rows (`split.row_index`), and up to 200,000 rows their words, not the
    texts.

    Raises:
        ConfigError: if a split would get no row, or no row of a class.
    """
    rows = index_rows(table, labels)
    used = np.arange(len(rows))
    undersampled = balance.method == "undersample"
    if undersampled and balance.when == "before_split":
        if rows.given is not None:
            raise ConfigError("balance.when=before_split would take rows out of a given split; set train_only")
        used = undersample(rows.labels, len(labels), balance.seed)
    near = look_for_near_duplicates(table, TEXT, False, len(rows), config)
    parted = part(rows, used, near, config)
    parts = parted.parts
    dealt = {name: len(part) for name, part in parts.items()}
    before = class_counts(rows, parts["train"], labels)
    shares = _class_shares(list(before.values()))
    if undersampled and balance.when == "train_only":
        train = parts["train"]
        parts["train"] = draw(train[undersample(rows.labels[train], len(labels), balance.seed)], config.seed)
    classes = {name: class_counts(rows, part, labels) for name, part in parts.items()}
    _refuse_gaps(table, rows, parted.groups, classes, config)
    write_in_order(table, {out / f"{name}.parquet": part for name, part in parts.items()})
    return {
        "labels": list(labels),
        "ordered": ordered,
        "rows": {name: len(part) for name, part in parts.items()},
        "rows_before_balancing": dealt,
        "classes": classes,
        "train_classes_before_balancing": before,
        "class_weights": class_weights(classes["train"]) if balance.method == "class_weight" else None,
        "majority": labels[shares.index(max(shares))],
        "shares": shares,
        "overlap": overlaps(rows, parts, near),
        **parted.facts(table, TEXT, config),
    }


@dataclass
class Parted:
    """The rows of each split by position, in the order in which they are written, and how they came there."""

    parts: dict[str, np.ndarray]
    groups: Groups
    given: Facts | None = None
    """What was given: names of the `splits`, their `overlap` as they came, and rows of train `left_out`."""

    def facts(self, table: Path, columns: list[str], config: GroupConfig) -> Facts:
        """Return how many groups there are, what was given, and what is to be warned of."""
        sizes = self.groups.sizes
        warnings = warn_of_groups(table, columns, self.groups, config)
        return {
            "groups": {"groups": len(sizes), "largest": int(sizes.max(initial=0))},
            "given": self.given,
            "warnings": [*(_given_warnings(self.given) if self.given else []), *warnings],
        }


def part(rows: RowIndex, used: np.ndarray, near: NearDuplicates | None, config: GroupConfig) -> Parted:
    """Part the rows at the positions `used`: as the source says, if it does, and otherwise by dealing them."""
    if rows.given is not None:
        return part_given(rows, near, config)
    return deal(rows, used, near, config, _shares(config.fractions))


def deal(
    rows: RowIndex, used: np.ndarray, near: NearDuplicates | None, config: GroupConfig, shares: np.ndarray
) -> Parted:
    """Shuffle the rows at the positions `used` and deal them to the splits; every one lands in exactly one."""
    shuffled = draw(used, config.seed)
    groups = group_rows(rows, used, near, config)
    if config.group_duplicates or config.stratify:
        first = groups.rows[groups.first]
        # A group with two labels counts for the label it first has.
        strata = rows.labels[first] if config.stratify else None
        keys = rows.folded[first] if config.group_duplicates else _numbered(rows.exact[first])
        split_of = np.empty(len(rows), np.int8)
        split_of[groups.rows] = deal_groups(keys, groups.sizes, strata, shares, config.seed)[groups.of_row]
        split_of = split_of[shuffled]
    else:
        split_of = _cut(len(shuffled), shares)
    return Parted({name: shuffled[split_of == position] for position, name in enumerate(SPLITS)}, groups)


def part_given(rows: RowIndex, near: NearDuplicates | None, config: GroupConfig) -> Parted:
    """Take the splits that the source gives as they are, and from train what also stands in them.

    One of validation and test that is not given is dealt from what train has left.
    """
    assert rows.given is not None
    parts = {name: np.flatnonzero(rows.given == position) for position, name in enumerate(SPLITS)}
    names = [name for name in SPLITS[1:] if len(parts[name])]
    if not names or not len(parts["train"]):
        lacking = "train" if names else "validation or test"
        raise ConfigError(f"no row is left of the given {lacking}; check source.columns.split, or the files' rows")
    found = overlaps(rows, parts, near)
    held_out = np.concatenate([parts[name] for name in names])
    leaking = leaks(rows, parts["train"], held_out, near)
    kind = "near" if near and config.groups_near_duplicates else "folded"
    left = parts["train"][~leaking[kind]] if config.group_duplicates else parts["train"]
    given: Facts = {"splits": names, "overlap": found, "left_out": len(parts["train"]) - len(left)}
    given["train"] = len(parts["train"])
    shares = _shares(config.fractions)
    for name in names:
        shares[SPLITS.index(name)] = 0
    dealt = deal(rows, left, near, config, shares / shares.sum())
    return Parted(dealt.parts | {name: parts[name] for name in names}, dealt.groups, given)


def _given_warnings(given: Facts) -> list[str]:
    names, said = " and ".join(given["splits"]), []
    for name in given["splits"]:
        counts = given["overlap"][name]
        if any(counts.values()):
            what = ", ".join(f"{count:,} {KINDS[kind]}" for kind, count in counts.items())
            said.append(f"rows of the given {name} that also stand in train as it came: {what}")
    if given["left_out"]:
        said.append(
            f"{given['left_out']:,} of {given['train']:,} rows of train were left out, since they also stand in the "
            f"given {names}"
        )
    if len(given["splits"]) == 2 and (both := max(given["overlap"]["test_validation"].values())):
        said.append(f"{both:,} rows of the given test also stand in the given validation; both are taken as they are")
    return said


def _shares(fractions: Fractions) -> np.ndarray:
    return np.array([getattr(fractions, name) for name in SPLITS])


def _numbered(texts: np.ndarray) -> np.ndarray:
    """Return the hashes such that those of copies differ, by how many of them came before."""
    copies = pd.Series(texts).groupby(texts).cumcount().to_numpy().astype(np.uint64)
    numbered: np.ndarray = texts + copies * np.uint64(0x9E3779B97F4A7C15)
    return numbered


def class_counts(rows: RowIndex, part: np.ndarray, labels: list[str]) -> dict[str, int]:
    """Return the number of rows of each label, in the order of `labels`."""
    counts = np.bincount(rows.labels[part], minlength=len(labels))
    return {label: int(counts[position]) for position, label in enumerate(labels)}


def _class_shares(counts: list[int]) -> list[float]:
    """Return the share of each class; where there is no row, each has the same."""
    return [count / sum(counts) if sum(counts) else 1 / len(counts) for count in counts]


def _cut(rows: int, shares: np.ndarray) -> np.ndarray:
    """Cut shuffled rows into three runs, rounding the first two down as the tutorial does."""
    train, validation = int(rows * shares[0]), int(rows * shares[1])
    if not shares[2]:
        validation = rows - train
    return np.repeat([0, 1, 2], [train, validation, rows - train - validation])


def _refuse_gaps(
    table: Path, rows: RowIndex, groups: Groups, classes: Mapping[str, Mapping[str, int]], config: SplitConfig
) -> None:
    """Raise ConfigError if a split lacks a class, with what helps: more rows, or another way to split."""
    for name, counts in classes.items():
        missing = [label for label, count in counts.items() if count == 0]
        if missing:
            named = ", ".join(map(repr, missing))
            advice = _advice(table, rows, groups, classes, missing, config)
            raise ConfigError(f"the {name} split has no row labelled {named}; {advice}")


def _advice(
    table: Path,
    rows: RowIndex,
    groups: Groups,
    classes: Mapping[str, Mapping[str, int]],
    missing: list[str],
    config: SplitConfig,
) -> str:
    totals = {label: sum(counts[label] for counts in classes.values()) for label in missing}
    label = min(totals, key=totals.__getitem__)
    total = totals[label]
    if rows.given is not None:
        return "the source gives it that way: add such rows, or take the class out of validation.labels"
    if total < len(SPLITS):
        return (
            f"there {'is 1 row' if total == 1 else f'are {total} rows'} for three splits: collect more, "
            "or take the class out of validation.labels"
        )
    if not config.stratify:
        return "set split.stratify=true, or collect more rows of that class"
    if config.group_duplicates:
        return f"{filled_by(table, TEXT, rows, groups, rows.labels == rows.names.index(label))}, or collect other rows"
    return "give it a larger split.fractions, or collect more rows of that class"


def filled_by(table: Path, columns: list[str], rows: RowIndex, groups: Groups, chosen: np.ndarray) -> str:
    """Say which group holds most of the rows for which `chosen` (rows) is true, and what takes it apart."""
    sizes = np.bincount(groups.of_row[chosen[groups.rows]], minlength=len(groups.sizes))
    group = int(sizes.argmax())
    what, key = why_together(rows, groups, group)
    shown = first_text(table, columns, groups, group)
    return (
        f"{sizes[group]:,} of its {sizes.sum():,} rows are {what}, such as {shown}, which stay in one split; "
        f"set {key} to deal them one by one"
    )
