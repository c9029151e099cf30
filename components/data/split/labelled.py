"""Splitting a table of labelled texts into train, validation and test, and counting what stands on both sides."""

from pathlib import Path

import numpy as np

from components.core.errors import ConfigError
from components.core.records import Facts
from components.data.split.config import BalanceConfig, SplitConfig
from components.data.split.dealing import shuffle
from components.data.split.given_splits import SPLITS
from components.data.split.grouping import Groups, describe_largest, with_near_duplicates
from components.data.split.parting import part, write_splits
from components.data.split.row_index import RowIndex, index_rows


def split(
    table: Path,
    config: SplitConfig,
    balance: BalanceConfig,
    labels: list[str],
    out: Path,
    ordered: bool = False,
) -> Facts:
    """Write `train.parquet`, `validation.parquet` and `test.parquet` to `out`; return counts and overlap.

    A table with a column `split` is parted as that says (`parting.part_given`). The facts' `shares` are those
    of the labels in the training split before it was balanced, and `majority` is the most frequent of them. `overlap`
    counts the rows of validation and test that stand in train, and the rows of test that stand in validation.
    `class_weights` are in the order of `labels`, rows / (classes * rows of the class) as scikit-learn's `balanced`
    (King and Zeng, "Logistic Regression in Rare Events Data", 2001), or None unless `balance.method` asks for them;
    `ordered` is passed on. In memory is an index of the rows (`split.row_index`), and up to 200,000 rows their words,
    not the texts.

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
    rows = with_near_duplicates(rows, False, config)
    parted = part(rows, used, config)
    dealt, train = parted.sizes, parted.parts["train"]
    before = _class_counts(rows, train, labels)
    total = sum(before.values())
    # Where there is no row, each class has the same share.
    shares = [count / total if total else 1 / len(labels) for count in before.values()]
    if undersampled and balance.when == "train_only":
        even = undersample(rows.labels[train], len(labels), balance.seed)
        parted.parts["train"] = shuffle(train[even], config.seed)
    classes = {name: _class_counts(rows, part, labels) for name, part in parted.parts.items()}
    for name, counts in classes.items():
        if missing := [label for label, count in counts.items() if count == 0]:
            advice = _advice(rows, parted.groups, classes, missing, config)
            raise ConfigError(f"the {name} split has no row labelled {', '.join(map(repr, missing))}; {advice}")
    weights = [sum(classes["train"].values()) / (len(labels) * count) for count in classes["train"].values()]
    return {
        "labels": list(labels),
        "ordered": ordered,
        "rows_before_balancing": dealt,
        "classes": classes,
        "train_classes_before_balancing": before,
        "class_weights": weights if balance.method == "class_weight" else None,
        "majority": labels[shares.index(max(shares))],
        "shares": shares,
        **write_splits(rows, parted, config, ("text", "label"), out),
    }


def _class_counts(rows: RowIndex, part: np.ndarray, labels: list[str]) -> dict[str, int]:
    counts = rows.counts(part)
    return {label: counts[label] for label in labels}


def _advice(
    rows: RowIndex, groups: Groups, classes: dict[str, dict[str, int]], missing: list[str], config: SplitConfig
) -> str:
    """Return what helps where a split lacks classes: more rows, or another way to split."""
    total, label = min((sum(counts[label] for counts in classes.values()), label) for label in missing)
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
        return f"{describe_largest(rows, groups, rows.labels == rows.names.index(label))}, or collect other rows"
    return "give it a larger split.fractions, or collect more rows of that class"


def undersample(labels: np.ndarray, classes: int, seed: int) -> np.ndarray:
    """Return positions in `labels` (class ids) with equally many rows of each class, class after class.

    Classes that are already as small as the smallest are kept whole and in order; the others are drawn by
    `DataFrame.sample` with `random_state=seed`. With two classes this is row for row the recipe of
    Raschka, "Build a Large Language Model (From Scratch)", chapter 6.
    """
    places = [np.flatnonzero(labels == label) for label in range(classes)]
    smallest = min(len(each) for each in places)
    return np.concatenate([each if len(each) == smallest else shuffle(each, seed, smallest) for each in places])
