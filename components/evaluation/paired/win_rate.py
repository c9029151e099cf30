"""How often a judge prefers one model's responses to another's, and how often it would if both were equally long."""

import numpy as np
import pydantic.dataclasses
from numpy.typing import NDArray

from components.evaluation.metrics import Interval, wilson_interval
from components.evaluation.paired.non_inferiority import Z, mean_lower_bound
from components.evaluation.paired.p_values import permutation_p

Floats = NDArray[np.float64]

HALF = 0.5
"""What a tie counts."""


@pydantic.dataclasses.dataclass(frozen=True)
class Controlled:
    """A win rate as it would be if both responses to each task were equally long."""

    win_rate: float
    interval: Interval
    """95 %"""
    longer: float
    """What the judge gives for length: the log odds that the longest of all gaps adds, above 0 if it prefers length."""


@pydantic.dataclasses.dataclass(frozen=True)
class WinRate:
    """How the first of two models does against the second, on N rows."""

    rows: int
    """Rows that count: both verdicts could be read, or both responses are the same."""
    unread: int
    """Rows that do not, as a verdict of theirs could not be read."""
    wins: int
    ties: int
    """Rows with a tie in both orders, with opposite verdicts, or with the same response twice."""
    losses: int
    win_rate: float
    """Mean preference for the first: a tie counts a half, and so does what flips with the order."""
    interval: Interval
    """95 %, Gaffke's of the mean (`paired.non_inferiority`): it holds its level, and has width where all is a tie."""
    p_value: float
    """Two-sided, by a permutation test: that neither is preferred."""
    asked: int
    """Rows of those that count on which the judge was asked."""
    flips: int
    """Of those, the rows on which the verdict is another one when the order is."""
    flip_share: float | None
    flip_interval: Interval | None
    """95 %, Wilson's."""
    longer_won: float | None
    """Share of the wins and losses that went to the longer response."""
    controlled: Controlled | None
    """None where the lengths never differ."""


def win_rate(preferences: Floats, lengths: Floats, same: NDArray[np.bool_]) -> WinRate:
    """Return how the first of two models does.

    Args:
        preferences: how much the first is preferred where it is shown first, and where it is shown second (N, 2), from
            0 to 1; nan for a verdict that could not be read.
        lengths: characters of the first's and the second's response (N, 2).
        same: which rows (N) have the same response twice; they are ties, whatever their preferences.

    Raises:
        ValueError: if no row counts.
    """
    both = np.where(same[:, None], HALF, preferences)
    counted = ~np.isnan(both).any(axis=1)
    if not counted.any():
        raise ValueError("no row has a verdict in both orders that could be read")
    means, gaps = both[counted].mean(axis=1), (lengths[:, 0] - lengths[:, 1])[counted]
    sides, asked = np.sign(both[counted] - HALF), ~same[counted]
    flips = int((sides[asked, 0] != sides[asked, 1]).sum())
    decided = (means != HALF) & (gaps != 0)
    return WinRate(
        rows=len(means),
        unread=int((~counted).sum()),
        wins=int((means > HALF).sum()),
        ties=int((means == HALF).sum()),
        losses=int((means < HALF).sum()),
        win_rate=float(means.mean()),
        interval=(mean_lower_bound(means, 0.0), 1 - mean_lower_bound(1 - means, 0.0)),
        p_value=permutation_p(means - HALF),
        asked=int(asked.sum()),
        flips=flips,
        flip_share=flips / int(asked.sum()) if asked.any() else None,
        flip_interval=wilson_interval(flips, int(asked.sum())) if asked.any() else None,
        longer_won=float(((means > HALF) == (gaps > 0))[decided].mean()) if decided.any() else None,
        controlled=length_controlled(means, gaps),
    )


def length_controlled(preferences: Floats, gaps: Floats) -> Controlled | None:
    """Return the win rate that a logistic model gives two responses of the same length; None where no length differs.

    Dubois, Galambosi, Liang and Hashimoto, "Length-Controlled AlpacaEval: A Simple Way to Debias Automatic Evaluators",
    2024: the log odds of a preference are theta + phi tanh(gap / standard deviation of the gaps), and the win rate is
    that of theta alone. Their term for how hard an instruction is needs many models and is left out. As theirs, phi is
    drawn to 0 a little. One row more, half won and half lost at no gap, keeps theta finite where all rows are won. The
    interval is by the sandwich estimator, since preferences lie between 0 and 1 too, on the scale of the log odds.

    Args:
        preferences: for the first (N), from 0 to 1.
        gaps: characters of the first's response less those of the second's (N).
    """
    from scipy.special import expit
    from sklearn.linear_model import LogisticRegression

    if (spread := float(gaps.std())) == 0:
        return None
    longer = np.append(np.tanh(gaps / spread), 0.0)
    won = np.append(preferences, HALF)
    twice, outcomes = np.tile(longer, 2)[:, None], np.repeat([1, 0], len(longer))
    model = LogisticRegression().fit(twice, outcomes, sample_weight=np.concatenate([won, 1 - won]))
    theta, phi = float(model.intercept_[0]), float(model.coef_[0, 0])
    design, expected = np.stack([np.ones_like(longer), longer], axis=1), model.predict_proba(longer[:, None])[:, 1]
    bread = np.linalg.inv((design * (expected * (1 - expected))[:, None]).T @ design + np.diag([0.0, 1.0]))
    squared = np.append((preferences - expected[:-1]) ** 2, (expected[-1] ** 2 + (1 - expected[-1]) ** 2) / 2)
    error = float(np.sqrt((bread @ ((design * squared[:, None]).T @ design) @ bread)[0, 0]))
    low, high = (float(expit(theta + sign * Z * error)) for sign in (-1, 1))
    return Controlled(float(expit(theta)), (low, high), phi)
