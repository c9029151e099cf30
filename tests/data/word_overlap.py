"""A check for leaks that shares nothing with the splitter: every text against every other, by Python's own sets."""

import re
from collections.abc import Sequence

import numpy as np


def words(text: str, digits: bool = True) -> list[str]:
    text = text.lower()
    return re.findall(r"\w+", text if digits else re.sub(r"\d+", "", text))


def leaking(known: Sequence[str], others: Sequence[str], digits: bool = True) -> list[str]:
    """Return those of the others that have a word Jaccard of 0.8 with a known text, both of eight words and more."""
    sets = [frozenset(found) for text in known if len(found := words(text, digits)) >= 8]
    return [text for text in others if len(own := words(text, digits)) >= 8 and near(set(own), sets)]


def near(own: set[str], sets: Sequence[frozenset[str]]) -> bool:
    return any(len(own & other) / len(own | other) >= 0.8 for other in sets)


def count_by_pairs(texts: Sequence[str]) -> set[tuple[int, int]]:
    """Return all near duplicates among texts, by counting the words that each two share, a block at a time."""
    vocabulary: dict[str, int] = {}
    rows = [sorted({vocabulary.setdefault(word, len(vocabulary)) for word in words(text)}) for text in texts]
    long = [place for place, text in enumerate(texts) if len(words(text)) >= 8]
    owners: list[list[int]] = [[] for _ in vocabulary]
    for place in long:
        for word in rows[place]:
            owners[word].append(place)
    holders = [np.array(each, np.int32) for each in owners]
    sizes = np.array([len(row) for row in rows])
    found = set()
    for place in long:
        shared = np.bincount(np.concatenate([holders[word] for word in rows[place]]), minlength=len(texts))
        alike = np.flatnonzero(5 * shared >= 4 * (sizes + sizes[place] - shared))
        found |= {(place, int(other)) for other in alike if other > place and shared[other]}
    return found
