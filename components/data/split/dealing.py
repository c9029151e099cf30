"""Dealing groups of rows to train, validation and test: at random, and the same way when the table grows.

A group's split follows from a hash of its first text and the seed, so it depends on no other row. What that gives up is
the last bit of evenness: shares are met as by drawing lots. In small tables evenness comes first.
"""

import numpy as np
import pandas as pd

SMALL = 1000
"""Rows below which every class is dealt in its exact shares, and rows may move when the table grows."""


def deal_groups(
    keys: np.ndarray, sizes: np.ndarray, strata: np.ndarray | None, shares: np.ndarray, seed: int
) -> np.ndarray:
    """Return the split of each group, int8 (groups).

    Args:
        keys: a hash of what each group is, uint64 (groups).
        sizes: rows of each group (groups).
        strata: number of the class of each group, from 0 on, of which every split gets its share; None if that does not
            matter.
        shares: of the rows in each split; a split with a share of 0 gets none.
        seed: of the draw.
    """
    # A number from 0 to 1 for each key: uniform over seeds, and for a seed over keys.
    places = (_mixed(keys ^ _mixed(np.array([seed], np.uint64))) >> np.uint64(11)) / float(1 << 53)
    if sizes.sum() < SMALL:
        dealt = _exactly(places, sizes, np.zeros(len(keys), np.int64) if strata is None else strata, shares, seed)
    else:
        ends = np.cumsum(shares)
        ends[shares == 0] = np.append(0, ends[:-1])[shares == 0]
        dealt = np.minimum(np.searchsorted(ends, places, "right"), np.flatnonzero(shares)[-1]).astype(np.int8)
        # A group that is larger than a whole split would make another of it.
        dealt[sizes > shares[dealt] * sizes.sum()] = shares.argmax()
    if strata is not None:
        _fill_gaps(dealt, places, strata, shares)
    return dealt


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """Return 64 well-mixed bits for each number (Steele et al., SplitMix64, 2014)."""
    mixed = numbers + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def _exactly(places: np.ndarray, sizes: np.ndarray, strata: np.ndarray, shares: np.ndarray, seed: int) -> np.ndarray:
    """Deal each stratum in its shares: first groups of several rows, at random, then single rows into what is left."""
    draw = np.random.default_rng(seed)
    dealt = np.zeros(len(places), np.int8)
    names, numbers = np.unique(strata, return_inverse=True)
    # Cut after each stratum, so that rounding does not add up.
    ends = np.cumsum(np.bincount(numbers, sizes, len(names)))
    cuts = np.rint(np.outer(np.append(0, ends), np.append(0, np.cumsum(shares))))
    rooms = np.diff(np.diff(cuts, axis=1), axis=0)
    for stratum, room in enumerate(rooms):
        groups = np.flatnonzero(numbers == stratum)
        groups = groups[np.argsort(places[groups], kind="stable")]
        for group in groups[sizes[groups] > 1]:
            # A split with room for it, drawn by how much there is; if there is none, the largest.
            fits = np.where(room >= sizes[group], room, 0)
            dealt[group] = draw.choice(len(room), p=fits / fits.sum()) if fits.any() else shares.argmax()
            room[dealt[group]] -= sizes[group]
        single = groups[sizes[groups] == 1]
        left = np.repeat(np.arange(len(shares)), np.maximum(room, 0).astype(int))
        dealt[single] = draw.permutation(left)[: len(single)]
    return dealt


def _fill_gaps(dealt: np.ndarray, places: np.ndarray, strata: np.ndarray, shares: np.ndarray) -> None:
    """Give each split that lacks a stratum the nearest of its groups, if there is one for every split."""
    names = int(strata.max(initial=-1)) + 1
    rows = np.bincount(strata * len(shares) + dealt, minlength=names * len(shares)).reshape(-1, len(shares))
    for stratum, split in np.argwhere((rows == 0) & (shares > 0) & rows.any(1, keepdims=True)):
        groups = np.flatnonzero(strata == stratum)
        counts = np.bincount(dealt[groups], minlength=len(shares))
        spare = groups[counts[dealt[groups]] > 1]
        if len(spare):
            middle = np.cumsum(shares)[split] - shares[split] / 2
            dealt[spare[np.abs(places[spare] - middle).argmin()]] = split


def shuffle(rows: np.ndarray, seed: int, count: int | None = None) -> np.ndarray:
    """Return `count` of the rows in a random order (all of them by default), as `DataFrame.sample` draws them."""
    return pd.Series(rows).sample(len(rows) if count is None else count, random_state=seed).to_numpy()
