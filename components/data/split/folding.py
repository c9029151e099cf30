"""When two texts count as the same message, and two instructions as the same task."""

import re
import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_DIGITS = re.compile(r"\d+")
_LOWER = bytes(range(256)).lower()
_APART = "\x80"
"""A character that no ASCII text has."""


def unify(text: str) -> str:
    """Return `text` with one form of each character: Unicode NFKC, and without case."""
    return unicodedata.normalize("NFKC", text).casefold()


def fold(text: str) -> str:
    """Return `text` without what a near duplicate changes: case, white space and digits.

    White space and digits are removed rather than replaced, so that "Call 0491 570 006" and "call 0491570156"
    fold to the same string. Coarser never leaks: it only keeps more texts together.
    """
    return _DIGITS.sub("", "".join(unify(text).split()))


_DROPPED = bytes(byte for byte in range(128) if not fold(chr(byte)))


def fold_all(texts: Iterable[str | None]) -> "np.ndarray":
    """Return the folded form of every text (an object array), those in ASCII as one run of bytes; None is empty."""
    import numpy as np

    filled = [text or "" for text in texts]
    ascii_only = _APART.join(text for text in filled if text.isascii()).encode("latin-1")
    folded = iter(ascii_only.translate(_LOWER, _DROPPED).decode("latin-1").split(_APART))
    return np.array([next(folded) if text.isascii() else fold(text) for text in filled], object)


def normalize_text(text: str) -> str:
    """Return `text` without what makes no other task of an instruction: case, and how much white space there is.

    Digits stay: "3 + 4" and "5 + 6" are different tasks.
    """
    return " ".join(unify(text).split())


def joined(instructions: Iterable[str | None], inputs: Iterable[str | None]) -> "np.ndarray":
    """Return a text (an object array) for each instruction with its input, the same for the same two only."""
    import numpy as np

    pairs = zip(instructions, inputs, strict=True)
    return np.array([f"{len(first or '')} {first or ''}{second or ''}" for first, second in pairs], object)


def fold_tasks(instructions: Iterable[str | None], inputs: Iterable[str | None]) -> "np.ndarray":
    """Return a text (an object array) for each instruction with its input, the same where they are the same task."""
    return joined(*([normalize_text(text or "") for text in texts] for texts in (instructions, inputs)))
