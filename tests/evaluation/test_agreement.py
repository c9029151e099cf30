"""How far two judges agree: known cases, ties, and where it cannot be said."""

import numpy as np
import pytest

from components.evaluation.paired.comparison import agreement


def test_a_milder_judge_agrees_on_the_order_and_not_on_the_scores() -> None:
    first = np.array([10.0, 30, 50, 70, np.nan, 90])
    found = agreement(first, first / 2 + 5)
    assert (found.rows, found.undefined) == (5, None)
    assert found.coefficients == pytest.approx({"pearson": 1, "spearman": 1, "kendall": 1})
    assert found.scores is not None
    assert found.scores.difference == pytest.approx(-20)


def test_coefficients_by_hand() -> None:
    found = agreement(np.array([1.0, 2, 3, 4]), np.array([1.0, 3, 2, 4])).coefficients
    # One of six pairs is discordant; ranks differ by 0, 1, 1, 0: 1 - 6 * 2 / (4 * 15).
    assert found == pytest.approx({"pearson": 0.8, "spearman": 0.8, "kendall": 4 / 6})
    # Tau-b of a tie: 2 concordant, none discordant, (3 * 2) ** 0.5 below.
    tied = agreement(np.array([1.0, 2, 3]), np.array([1.0, 1, 3])).coefficients
    assert tied["kendall"] == pytest.approx(2 / 6**0.5)


@pytest.mark.parametrize(
    ("second", "why", "rows"),
    [
        ([7.0, 7.0, 7.0], "one of the two gives every response the same score", 3),
        ([np.nan, np.nan, 7.0], "fewer than two responses have a score of both", 1),
        ([np.nan] * 3, "fewer than two responses have a score of both", 0),
    ],
)
def test_where_it_is_undefined_it_says_why(second: list[float], why: str, rows: int) -> None:
    found = agreement(np.array([1.0, 2.0, 3.0]), np.array(second))
    assert (found.coefficients, found.undefined, found.rows) == ({}, why, rows)
    assert (found.scores is None) == (rows == 0)
