"""The text of an answer, piece by piece, so that no piece has to be taken back."""

import codecs
from collections.abc import Iterable, Sequence

from components.models.tokenizer import Tokenizer


class TextStream:
    """Makes text of tokens as they come: up to the first text to stop at, and, if asked for, without blanks around it.

    The pieces together are what `as_text` and a template's `clean` make of all tokens at once. What may be the
    beginning of a text to stop at, blanks that may be the last ones, and bytes of a character that is not whole are
    held back.
    """

    def __init__(self, encoding: Tokenizer, stops: Sequence[str], strip: bool) -> None:
        self._encoding, self._stops, self._strip = encoding, stops, strip
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held, self._begun, self._ended = "", False, False

    def add(self, tokens: Iterable[int]) -> str:
        """Return the text that is certain once these tokens have come, after what has been returned before."""
        self._held += "".join(self._decoder.decode(self._encoding.decode_single_token_bytes(each)) for each in tokens)
        if self._ended:
            self._held = ""
        ends = [place for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if ends:
            self._held, self._ended = self._held[: min(ends)], True
            return self.finish()
        return self._let_go(len(self._held) - self._doubtful())

    def finish(self) -> str:
        """Return what was held back, now that no more tokens come."""
        if self._strip:
            self._held = self._held.rstrip()
        return self._let_go(len(self._held))

    def _let_go(self, characters: int) -> str:
        piece, self._held = self._held[:characters], self._held[characters:]
        if self._strip:
            piece = piece if self._begun else piece.lstrip()
            certain = piece.rstrip()
            piece, self._held = certain, piece[len(certain) :] + self._held
        self._begun = self._begun or bool(piece)
        return piece

    def _doubtful(self) -> int:
        """Return how many of the last characters may begin a text to stop at."""
        longest = min(max((len(stop) for stop in self._stops), default=1) - 1, len(self._held))
        ends = (self._held[-count:] for count in range(longest, 0, -1))
        return next((len(end) for end in ends if any(stop.startswith(end) for stop in self._stops)), 0)
