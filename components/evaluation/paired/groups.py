"""Where two models differ: by groups of rows, by the length of what they were given, and on which rows one by one."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pydantic.dataclasses
from numpy.typing import NDArray

from components.evaluation.metrics import Interval
from components.evaluation.paired.non_inferiority import accuracy_difference, score_difference

BINS = 4
"""Groups of about as many rows each, by length."""
MOST_GROUPS = 30
"""Groups that are told of, the largest."""


@pydantic.dataclasses.dataclass(frozen=True)
class GroupDifference:
    """What two models have on a group of the rows, and the difference, second minus first."""

    name: str
    rows: int
    first: float
    second: float
    difference: float
    interval: Interval
    """95 % of the difference, by itself: Tango's of shares right, Gaffke's of scores (`paired.non_inferiority`)."""


def by_group(groups: "pd.Series[str]", first: NDArray[Any], second: NDArray[Any]) -> list[GroupDifference]:
    """Return the differences by group, the largest group first; rows without a group are in none.

    Args:
        groups: the group of each row (N).
        first: what the first model has on each (N): whether it is right, or a score from 0 to 100 (nan for none).
        second: the same of the second.
    """
    largest = groups.value_counts().index[:MOST_GROUPS]
    places = ((str(name), np.flatnonzero(groups == name)) for name in largest)
    return list(_differences(places, first, second))


def by_length(lengths: NDArray[np.int64], first: NDArray[Any], second: NDArray[Any]) -> list[GroupDifference]:
    """Return the differences by length (N), in up to four groups of about as many rows, the shortest first."""
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, BINS + 1), method="higher"))
    bins = np.searchsorted(edges[1:-1], lengths)  # up to and with an edge
    places = ((_span(lengths[bins == each]), np.flatnonzero(bins == each)) for each in np.unique(bins))
    return list(_differences(places, first, second))


def disagreements(values: tuple[NDArray[Any], NDArray[Any]], said: "tuple[pd.Series[str], pd.Series[str]]") -> Any:
    """Return the positions of the rows on which two models differ, those first where one is ahead the most.

    Args:
        values: whether each is right on a row, or its score (N each).
        said: what each answers (N each).
    """
    gap = np.nan_to_num(np.abs(values[1].astype(np.float64) - values[0].astype(np.float64)))
    apart = (said[0].to_numpy() != said[1].to_numpy()) | (gap > 0)
    order = np.argsort(-gap, kind="stable")
    return order[apart[order]]


def _differences(
    places: Iterator[tuple[str, NDArray[np.int64]]], first: NDArray[Any], second: NDArray[Any]
) -> Iterator[GroupDifference]:
    for name, rows in places:
        one, other = first[rows], second[rows]
        if one.dtype == np.bool_:
            found = accuracy_difference(other, one)
        else:
            known = ~np.isnan(one) & ~np.isnan(other)
            if not known.any():
                continue
            found = score_difference(other[known], one[known])
        yield GroupDifference(name, found.rows, found.reference, found.candidate, found.value, (found.low, found.high))


def _span(lengths: NDArray[np.int64]) -> str:
    low, high = int(lengths.min()), int(lengths.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
