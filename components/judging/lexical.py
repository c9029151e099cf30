"""Comparing a response with its reference as texts: no language model, no server, the same score every time.

chrF: Popović, "chrF: character n-gram F-score for automatic MT evaluation", 2015, as sacrebleu computes it for a
sentence. Token F1: Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine Comprehension of Text", 2016.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import NamedTuple

from components.judging.cache import Cache
from components.records import fingerprint

ARTICLES = ("a", "an", "the")

Pair = tuple[str, str]
"""A response and its reference."""


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


def measure(pairs: Sequence[Pair], cache: Cache | None = None) -> list[Measures]:
    """Return the measures of each response and reference.

    A chrF that stands in the `cache` is not computed again: that of a long response takes a millisecond or two.
    """
    chrf = _chrf_scores(set(pairs), cache)
    return [Measures(float(_same(pair)), token_f1(*pair), chrf[pair]) for pair in pairs]


def _chrf_scores(pairs: set[Pair], cache: Cache | None) -> dict[Pair, float]:
    """Return the chrF of each pair: 100 for the same text, also where it is empty, for which chrF says 0."""
    sacrebleu = version("sacrebleu")
    keys = {pair: fingerprint([sacrebleu, *pair]) for pair in pairs if not _same(pair)}
    known = cache.find_scores(keys.values()) if cache else {}
    made = _compute(pair for pair, key in keys.items() if key not in known)
    if cache and made:
        cache.keep_scores({keys[pair]: score for pair, score in made.items()})
    return {pair: made[pair] if pair in made else known.get(keys.get(pair, ""), 100.0) for pair in pairs}


def _compute(pairs: Iterable[Pair]) -> dict[Pair, float]:
    todo = list(pairs)
    if not todo:
        return {}
    from sacrebleu.metrics.chrf import CHRF  # takes half a second to import

    chrf = CHRF()
    return {pair: chrf.sentence_score(pair[0], [pair[1]]).score for pair in todo}


def _same(pair: Pair) -> bool:
    return pair[0].strip() == pair[1].strip()


def token_f1(response: str, reference: str) -> float:
    """Return the F1 of two bags of words: lower case, without punctuation and English articles.

    Where either has no words left, 1 if neither has, else 0.
    """
    said, wanted = _words(response), _words(reference)
    if not said or not wanted:
        return float(said == wanted)
    common = (Counter(said) & Counter(wanted)).total()
    return 2 * common / (len(said) + len(wanted))


class _WithoutPunctuation(dict[int, int | None]):
    """A table for `str.translate` that looks a character up once."""

    def __missing__(self, letter: int) -> int | None:
        kept = None if unicodedata.category(chr(letter)).startswith("P") else letter
        self[letter] = kept
        return kept


BARE = _WithoutPunctuation()


def _words(text: str) -> list[str]:
    return [word for word in text.lower().translate(BARE).split() if word not in ARTICLES]
