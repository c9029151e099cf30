"""Not worse than a reference: intervals against published and independent values, and how often the rule is wrong."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import beta, norm

from components.evaluation.paired.non_inferiority import (
    LEVEL,
    Difference,
    accuracy_difference,
    mean_below,
    mean_lower_bound,
    score_difference,
    tango_interval,
)

Floats = NDArray[np.float64]

TRIALS = 20_000
CHANCE = 3 * np.sqrt(LEVEL * (1 - LEVEL) / TRIALS)
"""What a share of 2.5 % of so many trials is off by at most, nearly always."""


def draw(rows: int, worse: float, apart: float, trials: int = TRIALS, seed: int = 0) -> Floats:
    """Return, for each trial, how many rows only the candidate and only the reference is right on.

    `worse` is how much more often the reference is right, `apart` the share of rows on which only one of the two is.
    """
    shares = [(apart - worse) / 2, (apart + worse) / 2, 1 - apart]
    return np.random.default_rng(seed).multinomial(rows, shares, size=trials)[:, :2]


def passed(rows: int, margin: float, drawn: Floats) -> float:
    """Return the share of trials in which the candidate is promoted; equal trials are decided once."""
    counts, how_often = np.unique(drawn, axis=0, return_counts=True)
    decided = [rows >= 100 and tango_interval(int(only), int(other), rows)[0] > -margin for only, other in counts]
    return float(np.average(decided, weights=how_often))


def constrained_score_limit(only_first: int, only_second: int, rows: int) -> float:
    """Return Tango's lower limit by maximising the likelihood numerically: slow, and by another way."""

    def statistic(difference: float) -> float:
        def negative(second: float) -> float:
            first = second + difference
            counts = (only_first, only_second, rows - only_first - only_second)
            return -sum(n * np.log(p) for n, p in zip(counts, (first, second, 1 - first - second), strict=True) if n)

        low, high = max(0.0, -difference) + 1e-12, (1 - difference) / 2 - 1e-12
        second = minimize_scalar(negative, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
        spread = np.sqrt(rows * (2 * second + difference - difference**2))
        return float((only_first - only_second - rows * difference) / spread - norm.ppf(0.975))

    return float(brentq(statistic, -1 + 1e-9, (only_first - only_second) / rows - 1e-9))


def test_tangos_interval_is_the_published_one() -> None:
    # Fagerland, Lydersen and Laake, "Recommended tests and confidence intervals for paired binomial proportions",
    # Statistics in Medicine 33, 2014: airway hyper-responsiveness, 21 children.
    assert tango_interval(1, 7, 21) == pytest.approx((-0.517, -0.026), abs=5e-4)
    assert tango_interval(7, 1, 21) == pytest.approx((0.026, 0.517), abs=5e-4)


@pytest.mark.parametrize(
    ("first", "second", "rows"), [(1, 7, 21), (6, 16, 161), (40, 20, 160), (3, 3, 50), (0, 4, 300), (5, 0, 100)]
)
def test_tangos_interval_is_that_of_a_numerical_likelihood(first: int, second: int, rows: int) -> None:
    low, high = tango_interval(first, second, rows)
    assert low == pytest.approx(constrained_score_limit(first, second, rows), abs=1e-5)
    assert high == pytest.approx(-constrained_score_limit(second, first, rows), abs=1e-5)


def test_no_interval_is_without_width_or_outside_of_what_is_possible() -> None:
    z = float(norm.ppf(0.975))
    for rows in (1, 20, 100, 100_000):
        low, high = tango_interval(0, 0, rows)
        assert low == -high == pytest.approx(-(z**2) / (rows + z**2)), "as Wilson's interval of no success"
        low, high = tango_interval(rows, 0, rows)
        assert 0 < 2 * low - 1 < low < high == 1.0 or rows < 20
        assert tango_interval(0, rows, rows) == (-high, -low)
    for counts in ((3, 4, 5), (-1, 0, 5), (0, 0, 0)):
        with pytest.raises(ValueError, match="discordant rows"):
            tango_interval(*counts)


@pytest.mark.ci
@pytest.mark.parametrize("margin", [0.01, 0.02])
@pytest.mark.parametrize(
    "rows", [100, 200, 381, *(pytest.param(rows, marks=pytest.mark.slow) for rows in (707, 2000, 5000))]
)
def test_one_that_is_just_the_margin_worse_seldom_passes(rows: int, margin: float) -> None:
    for apart in (margin, margin + 0.002, 0.05, 0.1, 0.3):
        assert passed(rows, margin, draw(rows, margin, apart)) <= LEVEL + CHANCE, apart


@pytest.mark.ci
@pytest.mark.parametrize("margin", [0.01, 0.02])
@pytest.mark.parametrize("rows", [100, 200, 500, 2000])
def test_one_that_is_five_points_worse_hardly_ever_passes(rows: int, margin: float) -> None:
    for apart in (0.05, 0.1, 0.14, 0.2):
        assert passed(rows, margin, draw(rows, 0.05, apart)) <= 0.005, apart


@pytest.mark.ci
@pytest.mark.parametrize("rows", [100, 381, pytest.param(2000, marks=pytest.mark.slow)])
def test_one_that_is_as_good_as_a_baseline_is_seldom_called_better(rows: int) -> None:
    for apart in (0.01, 0.05, 0.1, 0.3):
        assert passed(rows, 0.0, draw(rows, 0, apart)) <= LEVEL + CHANCE, apart


def test_an_equal_one_passes_where_there_are_enough_rows() -> None:
    assert passed(2000, 0.02, draw(2000, 0, 0.05)) >= 0.9


@pytest.mark.ci
def test_what_was_seen_before() -> None:
    right, wrong = np.ones(5, bool), np.zeros(5, bool)
    assert not accuracy_difference(right, right).not_worse(0.01), "5 rows say nothing"
    assert not accuracy_difference(wrong, right).not_worse(0.01)
    # 90 % against 95 % on 200 rows, each right or wrong on its own.
    rng = np.random.default_rng(0)
    trials = [(rng.random(200) < 0.9, rng.random(200) < 0.95) for _ in range(2000)]
    assert np.mean([accuracy_difference(*each).not_worse(0.01) for each in trials]) <= 0.005


@pytest.mark.ci
@pytest.mark.parametrize("apart", [0.0, 0.01, 0.05, 0.3])
@pytest.mark.parametrize("margin", [0.01, 0.03])
def test_the_rows_needed_are_those_with_which_most_equals_pass(apart: float, margin: float) -> None:
    only = round(1000 * apart / 2)
    first, second = np.ones(1000, bool), np.ones(1000, bool)
    first[:only], second[-only or 1000 :] = False, False
    needed = accuracy_difference(first, second).rows_needed(margin)
    assert needed is not None
    assert 0.78 <= passed(needed, margin, draw(needed, 0, apart, 4000)) <= (0.93 if apart else 1.0)
    if not apart:
        assert passed(needed - 1, margin, draw(needed - 1, 0, 0)) == 0


def test_rows_needed_to_be_better_are_for_what_was_seen() -> None:
    better = Difference(50, 0.9, 0.7, 0.0, 0.3, 0.2, 1.0)
    assert not better.not_worse(0)
    assert better.rows_needed(0) == 100
    assert Difference(500, 0.71, 0.7, -0.03, 0.04, 0.2, 1.0).rows_needed(0) == pytest.approx(16_000, rel=0.05)
    assert Difference(50, 0.7, 0.9, -0.3, 0.0, 0.2, 1.0).rows_needed(0) is None


@pytest.mark.parametrize(("rows", "wrong"), [(100, 0), (183, 0), (200, 3), (1000, 20), (20_000, 400)])
def test_the_bound_of_scores_is_clopper_and_pearsons_where_there_are_two(rows: int, wrong: int) -> None:
    differences = np.where(np.arange(rows) < wrong, -100.0, 0.0)
    exact = 100 * (beta.ppf(LEVEL, rows - wrong, wrong + 1) - 1)
    assert mean_lower_bound(differences, -100) == pytest.approx(exact, abs=1e-5)


@pytest.mark.ci
def test_the_chance_of_the_bound_is_that_of_weights_drawn_at_random() -> None:
    rng = np.random.default_rng(1)
    values = np.append(np.clip(rng.normal(0, 25, 150), -100, 100), -100)
    weights = rng.standard_exponential((100_000, 151))
    means = weights @ values / weights.sum(axis=1)
    for bound in (-6.0, -2.0, 3.0):
        assert mean_below(values[:-1], -100, bound) == pytest.approx((means <= bound).mean(), abs=0.006)


def test_scores_that_never_differ_prove_nothing_on_few_rows() -> None:
    for rows, shown in ((99, False), (100, False), (182, False), (183, True)):
        same = np.full(rows, 80.0)
        assert score_difference(same, same).not_worse(2) is shown
    assert score_difference(np.full(100, 100.0), np.zeros(100)).not_worse(0)
    worst = score_difference(np.zeros(100), np.full(100, 100.0))
    assert (worst.low, worst.not_worse(2)) == (-100, False)


def test_many_different_scores_are_rounded_to_the_safe_side() -> None:
    differences = np.random.default_rng(2).normal(0, 10, 20_000).clip(-100, 100)
    exactly = differences.mean() - 1.96 * differences.std() / np.sqrt(len(differences))
    assert exactly - 0.06 < mean_lower_bound(differences, -100) < exactly


Drawn = Callable[[np.random.Generator, int], Floats]


def judged(mean: float) -> dict[str, Drawn]:
    """Return ways to draw the differences of judges' scores with a mean: even, skewed, and hardly ever any."""
    return {
        "even": lambda rng, rows: np.clip(rng.normal(mean, 20, rows), -100, 100),
        "narrow": lambda rng, rows: rng.normal(mean, 4, rows),
        "fails now and then": lambda rng, rows: np.where(rng.random(rows) < -mean / 100, -100.0, 0.0),
        "half fails": lambda rng, rows: np.where(rng.random(rows) < -mean / 50, -50.0, 0.0),
        "a little better, else much worse": lambda rng, rows: np.where(rng.random(rows) < 0.1, -60.0, (mean + 6) / 0.9),
        "a little worse, else much better": lambda rng, rows: np.where(rng.random(rows) < 0.1, 60.0, (mean - 6) / 0.9),
        "steps of ten": lambda rng, rows: 10.0 * rng.choice([-3, -1, 0, 1], rows, p=steps(mean)),
    }


COSTLY = {"even", "narrow"}
"""Those with as many different values as rows."""


def steps(mean: float) -> list[float]:
    worse = (-mean / 10 - 0.05) / 3
    return [worse, 0.15, 0.75 - worse, 0.1]


@pytest.mark.slow
@pytest.mark.parametrize("rows", [100, *(pytest.param(rows, marks=pytest.mark.slow) for rows in (200, 600))])
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in COSTLY else ()) for name in judged(-2)]
)
def test_scores_that_are_just_the_margin_or_more_lower_seldom_pass(name: str, rows: int) -> None:
    rng = np.random.default_rng(3)
    for mean, most, trials in ((-2.0, LEVEL, 1000), (-5.0, 0.005, 500)):
        draws = (judged(mean)[name](rng, rows) for _ in range(trials))
        # What `not_worse` says, without looking for the bound itself.
        share = np.mean([mean_below(each, -100, -2) < LEVEL for each in draws])
        assert share <= most + 2.5 * np.sqrt(most * (1 - most) / trials), mean


@pytest.mark.ci
def test_equal_scores_pass_with_the_rows_that_are_said_to_be_needed() -> None:
    rng = np.random.default_rng(4)
    spread = 20.0
    needed = Difference(1000, 50, 50, -2, 2, spread**2, 100.0).rows_needed(2)
    assert needed is not None
    draws = (np.clip(rng.normal(0, spread, needed), -100, 100) for _ in range(300))
    assert 0.74 <= np.mean([mean_below(np.round(each), -100, -2) < LEVEL for each in draws]) <= 0.9
