"""Whether texts that have arrived, and what a model says of them, are like those that it was tested on.

Each measure is a permutation test (Good, "Permutation, Parametric and Bootstrap Tests of Hypotheses", 2005): who is
which sample is drawn anew many times, so that nothing is assumed of how lengths or probabilities are distributed. All
measures are corrected together (Holm), so that samples of one and the same kind raise an alarm in `ALPHA` of cases at
most; and a difference that is real and small raises none, since it has to be above a limit as well.
"""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from components.evaluation.baselines import draw_evenly
from components.evaluation.paired.p_values import holm_adjusted

ALPHA = 0.01
"""Share of the looks at data like those of the test split that raise an alarm, at most."""
DRAWN = 1999
"""Permutations: the smallest p value is 1 in 2,000, which is enough for an alarm among five measures."""
MOST = 5000
"""Rows of each sample that are looked at: more take longer and show what is too small to matter."""
AT_ONCE = 100
WORD = re.compile(r"\w+")
TITLES = {
    "length": "characters of a text",
    "vocabulary": "share of words that training did not have",
    "labels": "predicted labels",
    "confidence": "probability of the predicted label",
    "errors": "share of wrong labels",
    "endings": "how responses ended",
    "response_length": "tokens of a response",
    "missed": "what responses lack of the references (1 - chrF)",
}
OF_LABELS = ("labels", "confidence", "errors")
OF_RESPONSES = ("endings", "response_length", "missed")
"""What is compared of what a model says: a class, a number, and how wrong it is."""

Values = NDArray[np.float64]
Masks = NDArray[np.bool_]
Distance = Callable[[Masks], Values]
"""From which rows are of the first sample (P, N) to how far apart the two samples are (P)."""


@dataclass(frozen=True)
class Sample:
    """N texts, and what a model says of them."""

    texts: Sequence[str]
    classes: NDArray[np.int64]
    """Positions of the predicted labels, or of how responses ended (N)."""
    values: Values
    """Probabilities of the predicted labels, or numbers of tokens of responses (N)."""
    wrong: Values | None = None
    """How wrong it is, from 0 to 1 (N), where that is known."""


class Drift(BaseModel):
    """How far arrived texts are from those of the test split, in one respect."""

    measure: str
    """A key of `TITLES`."""
    distance: float
    """0 to 1: the largest distance of the distribution functions, half the sum of the shares' differences, or by how
    much more is wrong."""
    p_value: float
    """After Holm's correction over all measures."""
    limit: float
    alarm: bool

    @property
    def title(self) -> str:
        """What is measured, in words."""
        return TITLES[self.measure]


def drifts(
    reference: Sample,
    arrived: Sample,
    known: Collection[str],
    most_drift: float,
    most_worse: float,
    said: tuple[str, str, str] = OF_LABELS,
    seed: int = 0,
) -> list[Drift]:
    """Return how far arrived texts are from those that a model was tested on.

    Args:
        reference: the test split.
        arrived: what has come since; errors are compared if both know theirs.
        known: the words of the training split; none: they are not known, and words are not compared.
        most_drift: the limit of distances.
        most_worse: the limit of by how much the share of errors may grow.
        said: what the model's classes, values and errors are, keys of `TITLES`.
        seed: of the permutations.
    """
    rng = np.random.default_rng(seed)
    samples = [_drawn(each) for each in (reference, arrived)]
    sizes = [len(each.texts) for each in samples]
    found: dict[str, Distance] = {"length": _of_distributions([[len(text) for text in each.texts] for each in samples])}
    if known:
        found["vocabulary"] = _of_distributions([[_unknown(text, known) for text in each.texts] for each in samples])
    classes, values, errors = said
    found[classes] = _of_shares(np.concatenate([each.classes for each in samples]))
    found[values] = _of_distributions([each.values for each in samples])
    wrong = [each.wrong for each in samples]
    if wrong[0] is not None and wrong[1] is not None:
        found[errors] = _of_means(np.concatenate([wrong[0], wrong[1]]))
    observed, above = _permuted(found, sizes, rng)
    adjusted = holm_adjusted({name: (1 + count) / (DRAWN + 1) for name, count in above.items()})
    limits = {name: most_worse if name == errors else most_drift for name in found}
    return [
        Drift(
            measure=name,
            distance=observed[name],
            p_value=adjusted[name],
            limit=limits[name],
            alarm=adjusted[name] <= ALPHA and observed[name] > limits[name],
        )
        for name in found
    ]


def words_of(texts: Sequence[str]) -> set[str]:
    """Return the words of texts, without regard to case."""
    return {word for text in texts for word in WORD.findall(text.casefold())}


def _unknown(text: str, known: Collection[str]) -> float:
    words = WORD.findall(text.casefold())
    return sum(word not in known for word in words) / len(words) if words else 0.0


def _drawn(sample: Sample) -> Sample:
    rows = draw_evenly(np.zeros(len(sample.texts), np.int64), MOST)
    wrong = None if sample.wrong is None else sample.wrong[rows]
    texts = [sample.texts[row] for row in rows.tolist()]
    return Sample(texts, sample.classes[rows], sample.values[rows], wrong)


def _permuted(
    distances: dict[str, Distance], sizes: Sequence[int], rng: np.random.Generator
) -> tuple[dict[str, float], dict[str, int]]:
    """Return the distances as they are, and how many of those of drawn samples are as large."""
    first = np.arange(sum(sizes)) < sizes[0]
    observed = {name: float(distance(first[None])[0]) for name, distance in distances.items()}
    above = dict.fromkeys(distances, 0)
    for begin in range(0, DRAWN, AT_ONCE):
        masks = rng.permuted(np.tile(first, (min(AT_ONCE, DRAWN - begin), 1)), axis=1)
        for name, distance in distances.items():
            above[name] += int((distance(masks) >= observed[name] - 1e-12).sum())
    return observed, above


def _of_distributions(samples: Sequence[Sequence[float] | Values]) -> Distance:
    """Return the largest distance of the two distribution functions (Kolmogorov and Smirnov's)."""
    values = np.concatenate([np.asarray(each, np.float64) for each in samples])
    order = np.argsort(values, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(values[order]) > 0, True))

    def distance(masks: Masks) -> Values:
        count = masks[:, order].cumsum(axis=1, dtype=np.int32)[:, ends]
        first = masks.sum(axis=1, keepdims=True)
        other = (ends + 1) - count
        apart: Values = np.abs(count / first - other / (masks.shape[1] - first)).max(axis=1)
        return apart

    return distance


def _of_shares(labels: NDArray[np.int64]) -> Distance:
    """Return half the sum of the differences of the labels' shares."""
    table = (labels[:, None] == np.unique(labels)).astype(np.float64)

    def distance(masks: Masks) -> Values:
        first = masks.sum(axis=1, keepdims=True)
        count = masks.astype(np.float64) @ table
        other = table.sum(axis=0) - count
        apart: Values = np.abs(count / first - other / (masks.shape[1] - first)).sum(axis=1) / 2
        return apart

    return distance


def _of_means(values: Values) -> Distance:
    """Return by how much the second sample's mean is above the first one's."""

    def distance(masks: Masks) -> Values:
        first = masks.sum(axis=1)
        total = masks.astype(np.float64) @ values
        apart: Values = (values.sum() - total) / (masks.shape[1] - first) - total / first
        return apart

    return distance
