"""The sets of words of a table's texts, each distinct set once, as numbers: what near duplicates are found by."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.data.batches import batches_of, hashed
from components.data.split.folding import unify

FEWEST_WORDS = 8
"""Texts with fewer words have no near duplicates: of seven words one that differs is not enough to tell."""

BATCH = 1 << 14
_WORD = re.compile(r"\w+")
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True)
class WordSets:
    """Distinct sets of words, by number, and which of them each row has."""

    of_row: np.ndarray
    """int32 (rows, 1 or 2): the set of the row's words and, where asked for, of those without digits; -1 if none."""
    starts: np.ndarray
    """int64 (sets + 1): where each set begins in `words`."""
    words: np.ndarray
    """int32: numbers of the words of each set, the rarest first."""
    hashes: np.ndarray
    """uint32 (words): a hash of each word, the same in every process."""

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def sizes(self) -> np.ndarray:
        """int64 (sets): how many words each has."""
        return np.diff(self.starts)


def read_word_sets(table: Path, columns: Sequence[str], digits: bool) -> WordSets:
    r"""Return the word sets of a Parquet table's texts: `columns` after one another.

    A word is a run of letters, digits and underscores (`\w+`) after NFKC and case folding. Without `digits` a row has a
    second set, of its words without their digits: two texts may be alike in either. In memory are all sets, about four
    bytes a word.
    """
    vocabulary: dict[str, int] = {}
    known: dict[bytes, int] = {}
    of_row: list[list[int]] = []
    for text in _texts(table, columns):
        found = [_WORD.findall(text)]
        if not digits:
            found.append(_WORD.findall(_DIGITS.sub("", text)))
        of_row.append([_number(words, vocabulary, known) for words in found])
    sets = [np.frombuffer(each, np.int32) for each in known]
    starts = np.cumsum([0, *map(len, sets)])
    words = np.concatenate(sets) if sets else np.empty(0, np.int32)
    rank = _by_rarity(words, len(vocabulary))
    owner = np.repeat(np.arange(len(sets)), np.diff(starts))
    words = words[np.lexsort((rank[words], owner))]
    names = np.array(list(vocabulary), object)
    hashes = (hashed(names) >> np.uint64(32)).astype(np.uint32)
    return WordSets(np.array(of_row, np.int32).reshape(-1, 1 if digits else 2), starts, words, hashes)


def _texts(table: Path, columns: Sequence[str]) -> Iterator[str]:
    with pq.ParquetFile(table, pre_buffer=False) as file:
        for batch in batches_of(file, list(columns), BATCH):
            cells = [batch[name].cast(pa.string()).to_pylist() for name in columns]
            for row in zip(*cells, strict=True):
                yield unify(" ".join(cell or "" for cell in row))


def _number(words: list[str], vocabulary: dict[str, int], known: dict[bytes, int]) -> int:
    if len(words) < FEWEST_WORDS:
        return -1
    numbers = sorted({vocabulary.setdefault(word, len(vocabulary)) for word in words})
    return known.setdefault(np.array(numbers, np.int32).tobytes(), len(known))


def _by_rarity(words: np.ndarray, vocabulary: int) -> np.ndarray:
    """Return the place of each word when they are ordered from the rarest to the most frequent."""
    rank = np.empty(vocabulary, np.int32)
    rank[np.argsort(np.bincount(words, minlength=vocabulary), kind="stable")] = np.arange(vocabulary)
    return rank
