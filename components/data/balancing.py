"""Balancing classes by undersampling."""

from typing import Literal

import pandas as pd
from pydantic import Field

from components.config import Config


class BalanceConfig(Config):
    """How classes of different size are evened out."""

    method: Literal["none", "undersample"] = "none"
    """`undersample` draws, from each class, as many rows as the smallest class has."""

    when: Literal["train_only", "before_split"] = "train_only"
    """`train_only` keeps the real class ratio in validation and test; `before_split` is the tutorial's order."""

    seed: int = Field(default=123, ge=0, lt=2**32)
    """Seed of the draw."""


def undersample(frame: pd.DataFrame, labels: list[str], seed: int) -> pd.DataFrame:
    """Return `frame` with equally many rows of every class, class after class in the order of `labels`.

    Classes that are already as small as the smallest are kept whole and in order; the others are drawn by
    `DataFrame.sample` with `random_state=seed`. With two classes this is row for row the recipe of
    Raschka, "Build a Large Language Model (From Scratch)", chapter 6.
    """
    counts = frame["label"].value_counts()
    smallest = int(counts.reindex(labels, fill_value=0).min())
    drawn = []
    for label in labels:
        rows = frame[frame["label"] == label]
        drawn.append(rows if len(rows) == smallest else rows.sample(smallest, random_state=seed))
    return pd.concat(drawn)
