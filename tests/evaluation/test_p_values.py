"""Two models' scores compared: against scipy's permutation test and plain resampling, and by what must always hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import permutation_test

from components.evaluation.metrics import RESAMPLES
from components.evaluation.paired.comparison import compare_scores
from components.evaluation.paired.p_values import PERMUTATIONS, SIGNIFICANT, bootstrap_p, permutation_p

Floats = np.ndarray


def draw(rows: int, seed: int, gain: float = 3.0) -> tuple[Floats, Floats]:
    """Return scores of two, as judges give them: whole numbers, many of them equal."""
    random = np.random.default_rng(seed)
    first = random.choice([0, 20, 50, 85, 90, 100], rows).astype(float)
    changed = random.random(rows) < 0.6
    return first, np.where(changed, np.clip(first + np.round(random.normal(gain, 15, rows)), 0, 100), first)


def mean_difference(first: Floats, second: Floats, axis: int) -> Floats:
    return (second - first).mean(axis=axis)


@pytest.mark.parametrize("seed", range(5))
def test_few_pairs_give_scipys_exact_p_value(seed: int) -> None:
    first, second = draw(12, seed)
    expected = permutation_test(
        (first, second), mean_difference, permutation_type="samples", vectorized=True, n_resamples=2**12
    )
    assert permutation_p(second - first) == pytest.approx(expected.pvalue)


def test_many_pairs_give_about_scipys_p_value() -> None:
    first, second = draw(110, 3)
    expected = permutation_test(
        (first, second), mean_difference, permutation_type="samples", vectorized=True, rng=np.random.default_rng(1)
    ).pvalue
    found = permutation_p(second - first)
    assert 0.01 < expected < 0.9
    assert found == pytest.approx(expected, abs=4 * np.sqrt(expected / PERMUTATIONS))


def test_a_p_value_by_hand() -> None:
    # Six pairs that all went up: of 64 ways to swap them two are as extreme.
    assert permutation_p(np.array([5.0, 1, 2, 9, 4, 3])) == 2 / 64
    # Pairs that are equal say nothing.
    assert permutation_p(np.array([5.0, 1, 2, 9, 4, 3] + 50 * [0.0])) == 2 / 64
    assert permutation_p(np.zeros(9)) == 1.0
    assert permutation_p(np.ones(200)) == 1 / (PERMUTATIONS + 1)


def test_intervals_are_those_of_a_plain_paired_bootstrap() -> None:
    first, second = draw(60, 7)
    drawn = np.random.default_rng(0).integers(60, size=(RESAMPLES, 60))
    plain = [second[rows].mean() - first[rows].mean() for rows in drawn]
    found = compare_scores(first, second)
    expected = np.quantile(plain, [0.025, 0.975])
    # The draws differ, as each has two values a row to pay for: so do the quantiles a little.
    assert found.difference_interval == pytest.approx(expected, abs=0.5)
    assert found.difference == pytest.approx(second.mean() - first.mean())


whole = arrays.arrays(np.float64, st.integers(1, 30), elements=st.integers(0, 100).map(float))


@pytest.mark.ci
@settings(deadline=None, max_examples=30)
@given(whole, st.integers(0, 10**6))
def test_swapping_the_two_turns_every_sign(first: Floats, seed: int) -> None:
    second = np.random.default_rng(seed).permutation(first)
    there, back = compare_scores(first, second), compare_scores(second, first)
    assert (there.p_value, there.rows) == (back.p_value, back.rows)
    assert there.difference == -back.difference
    low, high = back.difference_interval
    assert there.difference_interval == pytest.approx((-high, -low))
    same = compare_scores(first, first)
    assert (same.p_value, same.difference_interval) == (1.0, (0.0, 0.0))


def test_a_clear_gain_is_significant_and_a_tie_is_not() -> None:
    first, second = draw(110, 1, gain=25.0)
    found = compare_scores(first, second)
    assert found.difference > 0
    assert found.p_value == 1 / (PERMUTATIONS + 1)
    assert compare_scores(first, first + np.tile([1.0, -1.0], 55)).p_value > SIGNIFICANT


def test_missing_scores_are_a_mistake_of_the_caller() -> None:
    for first, second in ((np.array([1.0, np.nan]), np.array([1.0, 2.0])), (np.empty(0), np.empty(0))):
        with pytest.raises(ValueError, match="on rows that both have a score of"):
            compare_scores(first, second)


def test_a_bootstrap_without_width_proves_nothing() -> None:
    assert bootstrap_p(0.1, np.zeros(200)) == 1.0
    assert bootstrap_p(0.1, np.full(200, np.nan)) == 1.0
    assert bootstrap_p(1.96, np.array([-1.0, 1.0])) == pytest.approx(0.05, abs=1e-3)
