"""Comparing a response with its reference as texts: no language model, no server, the same score every time.

chrF: Popović, "chrF: character n-gram F-score for automatic MT evaluation", 2015, as sacrebleu computes it for a
sentence. Token F1: Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine Comprehension of Text", 2016.
"""

import functools
import unicodedata
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sacrebleu.metrics.chrf import CHRF

ARTICLES = ("a", "an", "the")


class Measures(NamedTuple):
    """How alike a response and its reference are. `chrf` runs from 0 to 100, the others from 0 to 1."""

    exact_match: float
    token_f1: float
    chrf: float

    @property
    def described(self) -> str:
        """The measures in a sentence."""
        exact = "the same text" if self.exact_match else "another text"
        return f"chrF {self.chrf:.1f}, token F1 {self.token_f1:.2f}, {exact}"


def measure(response: str, reference: str) -> Measures:
    """Return how alike a response and its reference are; a chrF of long ones takes a millisecond or two."""
    same = response.strip() == reference.strip()
    # Of two empty texts chrF says 0, but nothing is more alike.
    chrf = 100.0 if same else float(_metric().sentence_score(response, [reference]).score)
    return Measures(float(same), token_f1(response, reference), chrf)


@functools.cache
def _metric() -> "CHRF":
    from sacrebleu.metrics.chrf import CHRF  # takes half a second to import

    return CHRF()


def token_f1(response: str, reference: str) -> float:
    """Return the F1 of two bags of words: lower case, without punctuation and English articles.

    Where either has no words left, 1 if neither has, else 0.
    """
    words, wanted = _words(response), _words(reference)
    if not words or not wanted:
        return float(words == wanted)
    common = (Counter(words) & Counter(wanted)).total()
    return 2 * common / (len(words) + len(wanted))


class _WithoutPunctuation(dict[int, int | None]):
    """A table for `str.translate` that looks a character up once."""

    def __missing__(self, letter: int) -> int | None:
        kept = None if unicodedata.category(chr(letter)).startswith("P") else letter
        self[letter] = kept
        return kept


BARE = _WithoutPunctuation()


def _words(text: str) -> list[str]:
    return [word for word in text.lower().translate(BARE).split() if word not in ARTICLES]
