"""Comparing a response with its reference as texts: no language model, no server, the same score every time.

chrF: Popović, "chrF: character n-gram F-score for automatic MT evaluation", 2015, as sacrebleu computes it for a
sentence. Token F1: Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine Comprehension of Text", 2016.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable
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


SAME = Measures(1.0, 1.0, 100.0)


def measure(pairs: Iterable[tuple[str, str]]) -> list[Measures]:
    """Return the measures of each (response, reference)."""
    from sacrebleu.metrics.chrf import CHRF

    chrf = CHRF()
    found: dict[tuple[str, str], Measures] = {}
    measures = []
    for pair in pairs:
        if pair not in found:
            found[pair] = _measure(chrf, *pair)
        measures.append(found[pair])
    return measures


def _measure(chrf: "CHRF", response: str, reference: str) -> Measures:
    if response.strip() == reference.strip():
        return SAME
    score = chrf.sentence_score(response, [reference]).score
    return Measures(0.0, token_f1(response, reference), score)


def token_f1(response: str, reference: str) -> float:
    """Return the F1 of two bags of words: lower case, without punctuation and English articles.

    Where either has no words left, 1 if neither has, else 0.
    """
    said, wanted = _words(response), _words(reference)
    if not said or not wanted:
        return float(said == wanted)
    common = (Counter(said) & Counter(wanted)).total()
    return 2 * common / (len(said) + len(wanted))


def _words(text: str) -> list[str]:
    bare = "".join(letter for letter in text.lower() if not unicodedata.category(letter).startswith("P"))
    return [word for word in bare.split() if word not in ARTICLES]
