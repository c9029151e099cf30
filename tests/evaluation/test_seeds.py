"""Figures over seeds: Student's intervals, and differences that are rarely found where there is none."""

from itertools import combinations
from statistics import mean

import numpy as np
import pytest
from scipy import stats

from components.evaluation.seeds import contrasts, t_interval, welch

SIMULATIONS = 250
TOLERATED = 0.05 + 3 * (0.05 * 0.95 / SIMULATIONS) ** 0.5
"""Three standard errors above 5 %."""


def test_the_interval_is_students() -> None:
    values = [0.91, 0.95, 0.96]
    expected = stats.t.interval(0.95, 2, mean(values), stats.sem(values))
    assert t_interval(values) == pytest.approx(expected)


def test_seeds_that_all_fall_on_the_same_step_prove_nothing() -> None:
    assert welch([0.9, 0.9, 0.9], [0.95, 0.95, 0.95]) == 1.0


def test_a_group_of_one_seed_is_not_compared() -> None:
    assert contrasts([[0.5], [0.9, 0.91], [0.1, 0.12]], [(0, 1), (1, 2)])[0].second == 2


def test_what_clearly_differs_is_found() -> None:
    (found,) = contrasts([[0.70, 0.71, 0.72], [0.90, 0.91, 0.92]], [(0, 1)])
    assert found.significant
    assert found.difference == pytest.approx(0.2)


def normal(generator: np.random.Generator) -> list[list[float]]:
    """Recipes that are equally good and scatter differently."""
    scatter = [0.002, 0.01, 0.01, 0.05]
    return [list(generator.normal(0.95, each, size=3)) for each in scatter]


def shares(generator: np.random.Generator) -> list[list[float]]:
    """Accuracies on 557 rows, most of which every seed gets right: a few steps only."""
    return [list(generator.binomial(557, 0.985, size=3) / 557) for _ in range(4)]


@pytest.mark.ci
@pytest.mark.parametrize("draw", [normal, shares])
@pytest.mark.parametrize("pairs", ["with the first", "with the best"])
def test_of_equals_at_most_5_percent_of_sweeps_find_a_difference(draw: object, pairs: str) -> None:
    generator, alarms = np.random.default_rng(1), 0
    for _ in range(SIMULATIONS):
        groups = draw(generator)  # type: ignore[operator]
        if pairs == "with the first":
            found = contrasts(groups, [(0, other) for other in range(1, 4)])
        else:
            groups.sort(key=mean, reverse=True)
            found = [each for each in contrasts(groups, combinations(range(4), 2)) if each.first == 0]
        alarms += any(each.significant for each in found)
    assert alarms / SIMULATIONS <= TOLERATED
