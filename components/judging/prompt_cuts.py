"""Did the server cut prompts? What it says it has counted, against the fewest tokens that a prompt can have."""

import re
from collections.abc import Iterable

WORD = re.compile(r"[^\W_]\S*")
"""What is left of a word between blanks from its first letter or digit on."""
SPREAD = 8
"""Tokens by which the counts of prompts that were cut may differ: they were cut to one length."""
WHOLE = 5
"""Prompts that must have been counted whole before a single one with too low a count is taken for cut."""


def fewest_tokens(text: str) -> int:
    """Return a number of tokens that no vocabulary goes below: that of the words between blanks with a letter or digit.

    Tokenizers split at blanks before they look for tokens, so no token holds parts of two such words.
    """
    return len(WORD.findall(text))


def count_cut(prompts: Iterable[tuple[int, int]]) -> int:
    """Return how many different prompts were cut, given the fewest tokens that each can have and those counted.

    A count below is not enough: some servers (Ollama 0.30.0, ollama/ollama#16414) leave out of it what was still in
    their cache, so that most counts are too low and all differ. A server that cuts does so to one length, its context
    or half of it, and no prompt is longer than its context.
    """
    counted = [each for each in prompts if each[1] > 1]
    cut = [tokens for fewest, tokens in counted if tokens < fewest]
    if not cut or max(cut) - min(cut) > SPREAD or max(tokens for _, tokens in counted) > 2 * min(cut) + SPREAD:
        return 0
    return len(cut) if len(cut) > 1 or len(counted) > WHOLE else 0
