"""The win rate of one model against another, and what is left of it where length is controlled for."""

import numpy as np
import pytest
from numpy.typing import NDArray

from components.evaluation.paired.win_rate import length_controlled, win_rate

Floats = NDArray[np.float64]


def sigmoid(odds: Floats | float) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.asarray(odds))))


def judged(rows: int, seed: int, better: float, for_length: float, longer: float = 40.0) -> tuple[Floats, Floats]:
    """Return preferences by a judge that gives so much for quality and for length, and gaps that average `longer`."""
    random = np.random.default_rng(seed)
    gaps = random.normal(longer, 50, rows).round()
    return random.binomial(1, sigmoid(better + for_length * np.tanh(gaps / gaps.std()))).astype(float), gaps


def test_what_a_judge_gives_for_length_is_taken_out() -> None:
    preferences, gaps = judged(4000, 1, better=0.0, for_length=2.0)
    assert preferences.mean() > 0.65, "longer responses seem better"
    found = length_controlled(preferences, gaps)
    assert found is not None
    assert found.win_rate == pytest.approx(0.5, abs=0.03)
    assert found.interval[0] < 0.5 < found.interval[1]
    assert found.longer == pytest.approx(2.0, abs=0.3)


def test_what_is_better_stays_better_and_a_short_one_gets_its_due() -> None:
    for longer in (40.0, -60.0):
        preferences, gaps = judged(4000, 2, better=0.8, for_length=1.5, longer=longer)
        found = length_controlled(preferences, gaps)
        assert found is not None
        assert found.win_rate == pytest.approx(float(sigmoid(0.8)), abs=0.03)
    unbiased = length_controlled(*judged(4000, 3, better=0.8, for_length=0.0))
    assert unbiased is not None
    assert unbiased.longer == pytest.approx(0.0, abs=0.2)


@pytest.mark.ci
def test_the_interval_holds_the_truth_in_19_of_20_cases() -> None:
    held = 0
    for seed in range(200):
        found = length_controlled(*judged(150, seed, better=0.5, for_length=1.0))
        assert found is not None
        held += found.interval[0] <= float(sigmoid(0.5)) <= found.interval[1]
    assert 0.9 <= held / 200 <= 0.99


def test_a_model_that_always_wins_has_an_interval_with_width() -> None:
    random = np.random.default_rng(1)
    found = length_controlled(np.ones(20), random.normal(size=20))
    assert found is not None
    assert 0.5 < found.interval[0] < 0.95 < found.win_rate < 1
    assert length_controlled(np.ones(20), np.full(20, 3.0)) is None


def test_wins_ties_flips_and_what_cannot_be_read_by_hand() -> None:
    nan = np.nan
    preferences = np.array([[1, 1], [0, 0], [1, 0], [0.5, 0.5], [1, 0.5], [nan, 1], [nan, nan]])
    lengths = np.array([[9, 1], [9, 1], [9, 1], [9, 1], [1, 9], [9, 1], [4, 4]], float)
    found = win_rate(preferences, lengths, np.array([False] * 6 + [True]))
    assert (found.rows, found.unread, found.wins, found.ties, found.losses) == (6, 1, 2, 3, 1)
    assert found.win_rate == pytest.approx((1 + 0 + 0.5 + 0.5 + 0.75 + 0.5) / 6)
    assert (found.asked, found.flips, found.flip_share) == (5, 2, 0.4)
    assert found.longer_won == pytest.approx(1 / 3)
    assert found.interval[0] < found.win_rate < found.interval[1]
    with pytest.raises(ValueError, match="no row"):
        win_rate(np.full((2, 2), nan), lengths[:2], np.array([False, False]))


@pytest.mark.ci
def test_equal_models_are_told_apart_in_one_case_of_twenty() -> None:
    named = 0
    for seed in range(200):
        draws = np.random.default_rng(seed).integers(0, 3, (80, 1)) / 2
        named += win_rate(np.repeat(draws, 2, axis=1), np.ones((80, 2)), np.zeros(80, bool)).p_value < 0.05
    assert named / 200 <= 0.09
