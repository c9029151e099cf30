"""Comparing a response with its reference as texts: no language model, no server, the same score every time.

chrF: Popović, "chrF: character n-gram F-score for automatic MT evaluation", 2015, as sacrebleu computes it for a
sentence. Token F1: Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine Comprehension of Text", 2016.
"""

import functools
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

from components.core.records import fingerprint
from components.judging.cache import Cache

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


def measure(pairs: Sequence[Pair], cache: Cache | None = None) -> Iterator[Measures]:
    """Yield the measures of each response and reference.

    A chrF that stands in the `cache` is not computed again: that of a long response takes a millisecond or two. What
    is computed is kept at the end.
    """
    sacrebleu = version("sacrebleu")
    keys = {pair: fingerprint([sacrebleu, *pair]) for pair in pairs if pair[0].strip() != pair[1].strip()}
    known: dict[str, float] = cache.find_scores(keys.values()) if cache else {}
    made: dict[str, float] = {}
    for pair in pairs:
        key = keys.get(pair)
        if key and key not in known:
            known[key] = made[key] = float(_metric().sentence_score(pair[0], [pair[1]]).score)
        # Of two empty texts chrF says 0, but nothing is more alike.
        yield Measures(float(key is None), token_f1(*pair), known[key] if key else 100.0)
    if cache and made:
        cache.keep_scores(made)


@functools.cache
def _metric() -> Any:
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
