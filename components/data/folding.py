"""When two texts count as the same message: equal after folding case, white space and digits."""

import re
import unicodedata

_SPACE_OR_DIGITS = re.compile(r"[\s\d]+")


def fold(text: str) -> str:
    """Return `text` without what a near duplicate changes: case, white space and digits.

    White space and digits are removed rather than replaced, so that "Call 0491 570 006" and "call 0491570156"
    fold to the same string. Coarser never leaks: it only keeps more texts together.
    """
    return _SPACE_OR_DIGITS.sub("", unicodedata.normalize("NFKC", text).casefold())
