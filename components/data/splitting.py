"""Splitting a table into train, validation and test, with proof that no text stands on both sides."""

from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from components.config import Config
from components.data.balancing import BalanceConfig, undersample
from components.data.folding import fold_all
from components.data.tables import write_table
from components.errors import ConfigError
from components.records import Facts

SPLITS = ("train", "validation", "test")


class Fractions(Config):
    """Shares of the rows; they add up to 1."""

    train: float = Field(default=0.7, gt=0, lt=1)
    """Share of rows that the model is trained on."""

    validation: float = Field(default=0.1, gt=0, lt=1)
    """Share of rows that the checkpoint is chosen on."""

    test: float = Field(default=0.2, gt=0, lt=1)
    """Share of rows that is looked at once, at the end."""

    @model_validator(mode="after")
    def _add_up(self) -> Self:
        if abs(self.train + self.validation + self.test - 1) > 1e-6:
            raise ValueError(f"train + validation + test must be 1, not {self.train + self.validation + self.test:g}")
        return self


class SplitConfig(Config):
    """How rows are dealt to train, validation and test."""

    fractions: Fractions = Fractions()
    """Share of the rows in each split."""

    seed: int = Field(default=123, ge=0, lt=2**32)
    """Seed of the shuffle."""

    group_duplicates: bool = True
    """Keep texts that are equal after folding case, white space and digits in one split."""

    stratify: bool = True
    """Give every split the same share of each class."""


def split(table: Path, config: SplitConfig, balance: BalanceConfig, labels: list[str], out: Path) -> Facts:
    """Write `train.parquet`, `validation.parquet` and `test.parquet` to `out`; return counts and overlap.

    The facts' `majority` is the most frequent label of the training split before it was balanced. `overlap` counts
    the rows of validation and test that stand in train, and the rows of test that stand in validation.

    Raises:
        ConfigError: if a split would get no row, or no row of a class.
    """
    frame = pd.read_parquet(table)
    if missing := {"text", "label"} - set(frame.columns):
        raise ConfigError(f"the table has no column {' and '.join(sorted(missing))}; check source.columns")
    if balance.method == "undersample" and balance.when == "before_split":
        frame = undersample(frame, labels, balance.seed)
    parts = deal(frame, config)
    dealt = {name: len(part) for name, part in parts.items()}
    majority = str(parts["train"]["label"].value_counts().idxmax()) if len(parts["train"]) else labels[0]
    if balance.method == "undersample" and balance.when == "train_only":
        even = undersample(parts["train"], labels, balance.seed)
        parts["train"] = even.sample(frac=1, random_state=config.seed)
    _refuse_gaps(parts, labels)
    for name, part in parts.items():
        write_table(part, out / f"{name}.parquet")
    return {
        "labels": list(labels),
        "rows": {name: len(part) for name, part in parts.items()},
        "rows_before_balancing": dealt,
        "classes": {name: class_counts(part, labels) for name, part in parts.items()},
        "majority": majority,
        "overlap": {
            "validation": overlap(parts["train"], parts["validation"]),
            "test": overlap(parts["train"], parts["test"]),
            "test_validation": overlap(parts["validation"], parts["test"]),
        },
    }


def deal(frame: pd.DataFrame, config: SplitConfig) -> dict[str, pd.DataFrame]:
    """Shuffle `frame` and deal its rows to the three splits; every row lands in exactly one."""
    shuffled = frame.sample(frac=1, random_state=config.seed).reset_index(drop=True)
    if config.group_duplicates or config.stratify:
        split_of = _assign(shuffled, config)
    else:
        split_of = _cut(len(shuffled), config.fractions)
    return {name: shuffled[split_of == position] for position, name in enumerate(SPLITS)}


def overlap(train: pd.DataFrame, other: pd.DataFrame) -> dict[str, int]:
    """Count the rows of `other` whose text stands in `train` (or any other split): word for word, and folded."""
    return {
        "exact": int(other["text"].isin(set(train["text"])).sum()),
        "folded": int(fold_all(other["text"]).isin(set(fold_all(train["text"]))).sum()),
    }


def class_counts(frame: pd.DataFrame, labels: list[str]) -> dict[str, int]:
    """Return the number of rows of each label, in the order of `labels`."""
    counts = frame["label"].value_counts()
    return {label: int(counts.get(label, 0)) for label in labels}


def _cut(rows: int, fractions: Fractions) -> np.ndarray:
    """Cut shuffled rows into three runs, rounding the first two down as the tutorial does."""
    train = int(rows * fractions.train)
    validation = int(rows * fractions.validation)
    return np.repeat([0, 1, 2], [train, validation, rows - train - validation])


def _assign(frame: pd.DataFrame, config: SplitConfig) -> np.ndarray:
    """Return the split (0, 1, 2) of every row, dealing whole groups so that each class meets its shares.

    Groups are dealt largest first, each to the split that is furthest below its share of the group's class;
    the many groups of one text come last and even out what the large ones left.
    """
    group = fold_all(frame["text"]) if config.group_duplicates else frame.index.to_series()
    groups = pd.DataFrame({"group": group, "label": frame["label"] if config.stratify else ""})
    # A text with two labels counts for the label it first has.
    sizes = groups.groupby("group", sort=False).agg(size=("label", "size"), label=("label", "first"))
    shares = np.array([config.fractions.train, config.fractions.validation, config.fractions.test])
    split_of_group: dict[object, int] = {}
    for _, stratum in sizes.groupby("label", sort=True):
        wanted = shares * stratum["size"].sum()
        for name, size in stratum["size"].sort_values(ascending=False, kind="stable").items():
            position = int(np.argmax(wanted))
            wanted[position] -= size
            split_of_group[name] = position
    return group.map(split_of_group).to_numpy()


def _refuse_gaps(parts: dict[str, pd.DataFrame], labels: list[str]) -> None:
    for name, part in parts.items():
        missing = [label for label, count in class_counts(part, labels).items() if count == 0]
        if missing:
            raise ConfigError(
                f"the {name} split has no row labelled {', '.join(map(repr, missing))}; "
                "give it a larger split.fractions, set split.stratify=true, or collect more rows of that class"
            )
