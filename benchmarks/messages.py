"""Labelled texts for a benchmark: as many as it takes, the same ones every time, and not unlike those of people.

A text has 5 to 28 words, some of them far more frequent than others, some with digits or letters beyond ASCII. Of a
hundred rows, three repeat an earlier text word for word, two more but for case, digits and spaces, however far back it
stands; one row in a thousand is blank. 87 in a hundred are `ham`, the others `spam`.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

LABELS = ["ham", "spam"]
SPAM = 0.13
KINDS = {"new": 0.949, "copy": 0.03, "altered": 0.02, "blank": 0.001}
AT_A_TIME = 100_000

LETTERS = list("eeeeeeetttttaaaaoooiiinnnsssrrrhhhlldducmfywgpbvk")
ODD = ["£100", "2nd", "08712460324", "café", "naïve", "Ünal", "10:30", "U", "Free!", "안녕", "don’t", "🙂", "ﬁnd"]
WORDS, PHRASES = 20_000, 1 << 16


def write_messages(path: Path, rows: int) -> None:
    """Write lines of a label, a tab and a text, as the SMS Spam Collection has them."""
    words = _words()
    phrases = _phrases(words)
    labels = pa.array(LABELS)
    with path.open("wb") as file:
        for numbers, kinds in _numbers(rows):
            texts = _texts(numbers, words, phrases)
            texts = pc.if_else(kinds == "altered", _altered(texts), texts)
            texts = pc.if_else(kinds == "blank", " ", texts)
            spam = _drawn(numbers, 0, 1000) < 1000 * SPAM
            lines = pc.binary_join_element_wise(labels.take(pa.array(spam.astype(np.int8))), texts, "\t")
            file.write(("\n".join(lines.to_pylist()) + "\n").encode())


def _numbers(rows: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the number that makes the text of each row, its own or an earlier row's, and which of `KINDS` it is."""
    draw = np.random.default_rng(7)
    for start in range(0, rows, AT_A_TIME):
        own = np.arange(start, min(start + AT_A_TIME, rows))
        kinds = draw.choice(list(KINDS), len(own), p=list(KINDS.values()))
        earlier = (draw.random(len(own)) * own).astype(np.int64)
        yield np.where(np.isin(kinds, ["copy", "altered"]), earlier, own), kinds


def _drawn(numbers: np.ndarray, which: int, below: int) -> np.ndarray:
    """Return a random number below a bound for each number, always the same (Steele et al., SplitMix64, 2014)."""
    mixed = (numbers.astype(np.uint64) + np.uint64(which << 40)) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    drawn: np.ndarray = ((mixed ^ (mixed >> np.uint64(31))) % np.uint64(below)).astype(np.int64)
    return drawn


def _words() -> np.ndarray:
    """Return words, the frequent ones first."""
    draw = np.random.default_rng(1)
    lengths = np.minimum(2 + draw.poisson(2.5, WORDS), 12)
    letters = draw.choice(LETTERS, lengths.sum())
    words = ["".join(each) for each in np.split(letters, np.cumsum(lengths)[:-1])]
    for place, odd in enumerate(ODD):
        words[20 + 11 * place] = odd
    return np.array(words, object)


def _phrases(words: np.ndarray) -> pa.Array:
    """Return phrases of 2 to 9 words, drawn by Zipf's law."""
    draw = np.random.default_rng(2)
    lengths = draw.integers(2, 10, PHRASES)
    chosen = words[(draw.zipf(1.1, lengths.sum()) - 1) % WORDS]
    return pa.array([" ".join(each) for each in np.split(chosen, np.cumsum(lengths)[:-1])])


def _texts(numbers: np.ndarray, words: np.ndarray, phrases: pa.Array) -> pa.Array:
    """Return a text for each number: two or three phrases and a word."""
    pieces = [phrases.take(pa.array(_drawn(numbers, which, PHRASES))) for which in (1, 2, 3)]
    word = pa.array(words).take(pa.array(_drawn(numbers, 4, WORDS)))
    short = pc.binary_join_element_wise(pieces[0], word, pieces[1], " ")
    long = pc.binary_join_element_wise(short, pieces[2], " ")
    return pc.if_else(_drawn(numbers, 5, 2) == 0, short, long)


def _altered(texts: pa.Array) -> pa.Array:
    """Return texts in capitals, with other digits and another space."""
    return pc.utf8_upper(pc.binary_join_element_wise("17 ", pc.replace_substring_regex(texts, "[0-9]", "5"), " "))
