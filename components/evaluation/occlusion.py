"""Which words of a text weighed: how much less likely its label is without each of them.

Occlusion: a part of the input is taken away, and what the output loses is what that part gave it (Zeiler and Fergus,
"Visualizing and Understanding Convolutional Networks", 2014; of words, Li, Monroe and Jurafsky, "Understanding Neural
Networks through Representation Erasure", 2016). It asks the model alone, whatever network that is. Where two words say
the same, taking away one of them changes little: a weight near 0 does not say that a word did not matter.
"""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.evaluation.labelled import Predict

IDEOGRAPH = "\u3040-\u30ff\u3400-\u9fff"
"""Characters of scripts that put no blanks between words: each counts as a word."""
PIECE = re.compile(rf"\s+|[{IDEOGRAPH}]|[^\s{IDEOGRAPH}]+")
MOST = 256
"""Words that are weighed at most, the first ones: each costs as much as another text."""


@dataclass(frozen=True)
class Weighed:
    """A text, what a classifier says of it, and what each word gave to that."""

    label: int
    """The likeliest label."""
    probabilities: NDArray[np.float64]
    """Of each label (C)."""
    pieces: list[str]
    """The text in pieces: words, and the blanks between them."""
    weights: list[float | None]
    """Of each piece: probability of the label with it less that without it; None for blanks, and after `MOST` words."""


def weigh_words(text: str, predict: Predict) -> Weighed:
    """Return what a classifier says of a text, and how much each word weighed; `predict` is asked once, for all."""
    pieces = PIECE.findall(text)
    words = [place for place, piece in enumerate(pieces) if not piece.isspace()][:MOST]
    found = predict([text, *("".join(pieces[:place] + pieces[place + 1 :]) for place in words)])
    label = int(found[0].argmax())
    weights: list[float | None] = [None] * len(pieces)
    for place, without in zip(words, found[1:, label], strict=True):
        weights[place] = float(found[0, label] - without)
    return Weighed(label, found[0], pieces, weights)
