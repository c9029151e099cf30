"""How far a judge agrees with people who have rated the same responses, and how far mere length does."""

from typing import Any

import numpy as np
import pydantic.dataclasses
from numpy.typing import NDArray

from components.evaluation.metrics import Interval, percentile_interval

Floats = NDArray[np.float64]
Classes = NDArray[Any]

GOOD = 70.0
"""A response with this score or a higher one is good: of the rubric's bands, correct in the main."""
RESAMPLES = 2000
FEW = 30
"""Rated rows below which the interval says little."""


@pydantic.dataclasses.dataclass(frozen=True)
class Kappa:
    """How far two agree on the classes of N rows."""

    agreed: float
    """Share of rows with the same class."""
    kappa: float | None
    """Cohen's: what is agreed beyond chance, from -1 to 1; None where all rows have one class of both."""
    interval: Interval | None
    """95 %, by a bootstrap of the rows."""


@pydantic.dataclasses.dataclass(frozen=True)
class PeopleAgreement:
    """How far a judge agrees with people, and how far it would that goes by length alone."""

    rows: int
    judge: Kappa
    longer: Kappa
    """Of always taking the longer response for the better one."""


def agreement_with_people(people: Classes, judge: Classes, longer: Classes) -> PeopleAgreement | None:
    """Return how far a judge, and length, give N rows the classes that people give them; None without a row."""
    if not len(people):
        return None
    return PeopleAgreement(len(people), cohen_kappa(people, judge), cohen_kappa(people, longer))


def preferences(first: Floats, second: Floats) -> Classes:
    """Return which of two values is larger on each row (N): -1 the first, 1 the second, 0 neither."""
    return np.sign(second - first).astype(np.int64)


def good(scores: Floats) -> Classes:
    """Return which scores (N) stand for a good response."""
    return np.asarray(scores >= GOOD)


def cohen_kappa(first: Classes, second: Classes, seed: int = 0) -> Kappa:
    """Return Cohen's kappa of the classes that two give N > 0 rows ("A coefficient of agreement", 1960).

    A bootstrap of the rows is one of the counts in the table of both classes; draws without a kappa are left out.
    """
    from sklearn.metrics import cohen_kappa_score, confusion_matrix

    counts = confusion_matrix(first, second)
    agreed = float(np.trace(counts) / counts.sum())
    if len(np.unique([*first, *second])) < 2:
        return Kappa(agreed, None, None)
    draws = np.random.default_rng(seed).multinomial(counts.sum(), counts.ravel() / counts.sum(), RESAMPLES)
    found = _kappas(draws.reshape(RESAMPLES, *counts.shape) / counts.sum())
    interval = percentile_interval(found) if np.isfinite(found).any() else None
    return Kappa(agreed, float(cohen_kappa_score(first, second)), interval)


def _kappas(shares: Floats) -> Floats:
    """Return the kappa of each of R tables of shares (R, C, C); nan where chance alone agrees on all rows."""
    chance = (shares.sum(axis=1) * shares.sum(axis=2)).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (np.trace(shares, axis1=1, axis2=2) - chance) / (1 - chance)
    return np.where(np.isclose(chance, 1), np.nan, found)
