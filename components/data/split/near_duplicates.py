"""Near duplicates: texts whose sets of words have a Jaccard similarity of 0.8 and more.

Candidates are found by MinHash (Broder, "On the resemblance and containment of documents", 1997; signatures of the
library `datasketch`) and banding (Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", 3.4), and every one is
verified by counting words. What is found is right; of what there is, one pair in 16,000 is missed at a similarity of
exactly 0.8, fewer above.

Of the texts in a bucket only those are compared that share one of their rarest words, as sets so alike must (prefix
filtering: Bayardo, Ma and Srikant, "Scaling up all pairs similarity search", 2007).
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.conversations import HISTORY, read_history
from components.data.batches import batches_of, hashed
from components.data.split.folding import unify

FEWEST_WORDS = 8
"""Texts with fewer words have no near duplicates: of seven words one that differs is not enough to tell."""

BATCH = 1 << 14
_WORD = re.compile(r"\w+")
_DIGITS = re.compile(r"\d+")
BANDS, ROWS = 32, 6
"""Two sets of similarity s share a bucket with a probability of 1 - (1 - s^ROWS)^BANDS: 0.99994 at 0.8."""
SEED = 1
AT_A_TIME = 200_000
"""Pairs that are verified at a time."""

Pairs = tuple[np.ndarray, np.ndarray]


def _texts(column: str, cells: list[str | None]) -> list[str | None]:
    """Return the texts in a column's cells; of a history what was said, not who did."""
    if column != HISTORY:
        return cells
    return [" ".join(str(turn["content"]) for turn in read_history(cell)) for cell in cells]


class NearDuplicates:
    r"""The near duplicates among a Parquet table's texts, `columns` after one another, by the sets of their words.

    A word is a run of letters, digits and underscores (`\w+`) after NFKC and case folding. Without `digits` a row has a
    second set, of its words without their digits: two texts may be alike in either. In memory are all distinct sets,
    about four bytes a word, and their signatures. `count` is the number of sets, `of_row`, int32 (rows, 1 or 2), which
    of them each row has, -1 if none, and `bands`, uint64 (bands, sets), what sets that are alike have in common.
    """

    def __init__(self, table: Path, columns: Sequence[str], digits: bool) -> None:
        from scipy.sparse import csr_array

        vocabulary: dict[str, int] = {}
        known: dict[bytes, int] = {}

        def number(text: str) -> int:
            words = _WORD.findall(text)
            if len(words) < FEWEST_WORDS:
                return -1
            numbers = sorted({vocabulary.setdefault(word, len(vocabulary)) for word in words})
            return known.setdefault(np.array(numbers, np.int32).tobytes(), len(known))

        of_row: list[list[int]] = []
        with pq.ParquetFile(table, pre_buffer=False) as file:
            for batch in batches_of(file, list(columns), BATCH):
                cells = [_texts(name, batch[name].cast(pa.string()).to_pylist()) for name in columns]
                for row in zip(*cells, strict=True):
                    text = unify(" ".join(cell or "" for cell in row))
                    of_row.append([number(each) for each in ((text,) if digits else (text, _DIGITS.sub("", text)))])
        self.of_row = np.array(of_row, np.int32).reshape(-1, 1 if digits else 2)
        self.count = len(known)
        sets = [np.frombuffer(each, np.int32) for each in known]
        self._sizes = np.array([len(each) for each in sets], np.int64)
        self._starts = np.cumsum(self._sizes) - self._sizes
        words = np.concatenate([np.empty(0, np.int32), *sets])
        # Those of each set from the rarest on.
        self._words = words[np.lexsort((np.bincount(words)[words], np.repeat(np.arange(self.count), self._sizes)))]
        self._vocabulary = len(vocabulary)
        indices = self._words, np.append(self._starts, len(words))
        self._matrix = csr_array((np.ones(len(words), np.int32), *indices), (self.count, max(1, self._vocabulary)))
        # A hash of each word, the same in every process.
        hashes = (hashed(np.array(list(vocabulary), object)) >> np.uint64(32)).astype(np.uint32)
        self.bands = _bands([hashes[each] for each in sets])

    def components(self, ones: np.ndarray, others: np.ndarray, count: int) -> np.ndarray:
        """Return the connected component of each of `count` nodes, int32, numbered from 0.

        The first nodes are the sets; `ones` and `others` are further edges, between any nodes.
        """
        labels = _merged(np.arange(count, dtype=np.int32), ones, others)
        for band in self.bands:
            for candidates in (self._neighbours, self._others):
                for a, b in candidates(band, labels):
                    labels = _merged(labels, a, b)
        return labels

    def reached(self, sides: np.ndarray) -> np.ndarray:
        """Return the sides that each set or a near duplicate of it has, given the sides of each as bits, uint8."""
        found = sides.copy()
        for band in self.bands:
            # Where both have the same sides, neither gains one.
            for a, b in self._others(band, sides):
                np.bitwise_or.at(found, a, sides[b])
                np.bitwise_or.at(found, b, sides[a])
        return found

    def _neighbours(self, band: np.ndarray, colours: np.ndarray) -> Iterator[Pairs]:
        """Yield the near duplicates of another colour next to each other in a bucket: few pairs that join most."""
        order = np.argsort(band, kind="stable")
        same = band[order[1:]] == band[order[:-1]]
        yield from self._verified(order[1:][same], order[:-1][same], colours)

    def _others(self, band: np.ndarray, colours: np.ndarray) -> Iterator[Pairs]:
        """Yield all near duplicates of another colour in the same bucket."""
        _, bucket, sizes = np.unique(band, return_inverse=True, return_counts=True)
        owners, words, indexed = self._rarest(np.flatnonzero(sizes[bucket] > 1))
        keys = np.unique(bucket[owners] * self._vocabulary + words, return_inverse=True)[1]
        for a, b in _across(owners, keys, indexed, colours):
            yield from self._verified(a, b, colours)

    def _rarest(self, sets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the rarest words of some sets: whose each is, its number, and whether it is one of the very rarest.

        Two sets of Jaccard 4/5 and more share a word that is one of the n - ceil(4n/5) + 1 rarest of both, and of the
        n - ceil(8n/9) + 1 rarest of the smaller.
        """
        sizes = self._sizes[sets]
        counts = sizes - -(-4 * sizes // 5) + 1
        fewer = sizes - -(-8 * sizes // 9) + 1
        owners = np.repeat(sets, counts)
        places = _ranges(np.zeros_like(counts), counts)
        return owners, self._words[self._starts[owners] + places], places < np.repeat(fewer, counts)

    def _verified(self, a: np.ndarray, b: np.ndarray, colours: np.ndarray) -> Iterator[Pairs]:
        """Yield those pairs that are near duplicates of another colour, a few at a time."""
        sizes = self._sizes
        for start in range(0, len(a), AT_A_TIME):
            one, other = a[start : start + AT_A_TIME], b[start : start + AT_A_TIME]
            small, large = np.minimum(sizes[one], sizes[other]), np.maximum(sizes[one], sizes[other])
            wanted = (colours[one] != colours[other]) & (5 * small >= 4 * large)
            one, other = one[wanted], other[wanted]
            shared = np.asarray(self._matrix[one].multiply(self._matrix[other]).sum(axis=1)).ravel()
            alike = 5 * shared >= 4 * (sizes[one] + sizes[other] - shared)
            if alike.any():
                yield one[alike], other[alike]


def _bands(sets: Sequence[np.ndarray]) -> np.ndarray:
    """Return a hash of each band of each set's signature, uint64 (bands, sets), given the hashes of its words."""
    from datasketch import MinHash

    bands = np.zeros((BANDS, len(sets)), np.uint64)
    factors = np.random.default_rng(SEED).integers(0, 1 << 63, ROWS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    sketches = MinHash.generator(sets, num_perm=BANDS * ROWS, seed=SEED, hashfunc=int)
    for number, sketch in enumerate(sketches):
        bands[:, number] = sketch.hashvalues.reshape(BANDS, ROWS) @ factors
    return bands


def _merged(labels: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the nodes' components once those of `a` and `b` are joined, pair by pair."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(labels)
    edges = coo_array((np.ones(len(a), bool), (labels[a], labels[b])), (count, count))
    joined: np.ndarray = connected_components(edges, directed=False)[1][labels]
    return joined


def _across(nodes: np.ndarray, keys: np.ndarray, indexed: np.ndarray, colours: np.ndarray) -> Iterator[Pairs]:
    """Yield pairs of nodes with the same key, at least one of them indexed, such that none of two colours is missed.

    Keys are numbers from 0 on. Of each the nodes of one colour, that of most of them if there is one, are compared with
    the others only, and not with one another.
    """
    colour = colours[nodes]
    order = np.lexsort((colour, keys))
    ends = np.cumsum(np.bincount(keys))
    middle = order[(np.append(0, ends[:-1]) + ends) // 2]
    odd = colour != colour[middle][keys]
    for chosen, others in ((odd & indexed, order), (odd & ~indexed, order[indexed[order]])):
        sizes = np.bincount(keys[others], minlength=len(ends))
        first, some = np.cumsum(sizes) - sizes, np.flatnonzero(chosen)
        pairs = np.cumsum(sizes[keys[some]])
        for part in np.split(some, np.flatnonzero(np.diff(pairs // (4 * AT_A_TIME))) + 1):
            counts = sizes[keys[part]]
            yield np.repeat(nodes[part], counts), nodes[others[_ranges(first[keys[part]], counts)]]


def _ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return so many numbers from each start on, one range after the other."""
    found: np.ndarray = np.arange(counts.sum()) + np.repeat(starts + counts - np.cumsum(counts), counts)
    return found
