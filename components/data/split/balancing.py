"""Balancing classes: by undersampling, or by weights in the loss."""

import numpy as np
import pandas as pd


def undersample(labels: np.ndarray, classes: int, seed: int) -> np.ndarray:
    """Return positions in `labels` (class ids) with equally many rows of each class, class after class.

    Classes that are already as small as the smallest are kept whole and in order; the others are drawn by
    `DataFrame.sample` with `random_state=seed`. With two classes this is row for row the recipe of
    Raschka, "Build a Large Language Model (From Scratch)", chapter 6.
    """
    places = [np.flatnonzero(labels == label) for label in range(classes)]
    smallest = min(len(each) for each in places)
    return np.concatenate([each if len(each) == smallest else shuffle(each, seed, smallest) for each in places])


def shuffle(rows: np.ndarray, seed: int, count: int | None = None) -> np.ndarray:
    """Return `count` of the rows in a random order (all of them by default), as `DataFrame.sample` draws them."""
    return pd.Series(rows).sample(len(rows) if count is None else count, random_state=seed).to_numpy()


def class_weights(counts: dict[str, int]) -> list[float]:
    """Return the weight of each class, rows / (classes * rows of the class): scikit-learn's `balanced`.

    Every class has a row. King and Zeng, "Logistic Regression in Rare Events Data" (2001).
    """
    rows = sum(counts.values())
    return [rows / (len(counts) * count) for count in counts.values()]
