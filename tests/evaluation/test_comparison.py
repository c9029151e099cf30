"""Two classifiers compared: against plain computations row by row, and by what must hold for any two."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, bootstrap
from sklearn.metrics import matthews_corrcoef

from components.evaluation.labelled import Predictions
from components.evaluation.metrics import RESAMPLES, classification_metrics, metrics_of_labels, weighted_metrics
from components.evaluation.paired.comparison import compare_predictions, smallest_difference
from components.evaluation.paired.p_values import PRIMARY_LEVEL


def draw(rows: int, classes: int, seed: int, truth_seed: int = 0) -> Predictions:
    """Return random predictions, better than chance and with ties, of rows that depend on `truth_seed` only."""
    truth = np.random.default_rng(truth_seed).permutation(np.arange(rows) % classes)
    random = np.random.default_rng(seed)
    scores = np.round(random.random((rows, classes)) + 0.4 * np.eye(classes)[truth], 1) + 0.01
    return Predictions(truth, scores / scores.sum(axis=1, keepdims=True))


def telling(correct: list[int]) -> Predictions:
    """Return predictions of rows of class 0 that are right where `correct` is 1."""
    right = np.array(correct) == 1
    return Predictions(np.zeros(len(right), np.int64), np.where(right[:, None], [0.9, 0.1], [0.2, 0.8]))


@pytest.mark.ci
@pytest.mark.parametrize(("classes", "ordered"), [(2, False), (2, True), (4, True)])
def test_whole_weights_do_what_writing_rows_down_so_often_does(classes: int, ordered: bool) -> None:
    predictions = draw(30, classes, seed=5)
    weights = np.random.default_rng(1).integers(0, 3, size=(20, 30)).astype(np.float64)
    found = weighted_metrics(metrics_of_labels(ordered), predictions, weights)
    for sample, counts in enumerate(weights.astype(int)):
        drawn = np.repeat(np.arange(30), counts)
        assert len(set(predictions.truth[drawn])) == classes
        repeated = Predictions(predictions.truth[drawn], predictions.probabilities[drawn])
        expected = classification_metrics(repeated, ordered)
        assert found.keys() == expected.keys() - {"accuracy_low", "accuracy_high"}
        for name, values in found.items():
            assert values[sample] == pytest.approx(expected[name]), name


@pytest.mark.ci
def test_the_interval_of_a_difference_is_that_of_a_plain_paired_bootstrap() -> None:
    first, second = draw(50, 3, seed=1), draw(50, 3, seed=2)
    drawn = np.random.default_rng(0).integers(50, size=(RESAMPLES, 50))
    plain = [
        matthews_corrcoef(second.truth[rows], second.predicted[rows])
        - matthews_corrcoef(first.truth[rows], first.predicted[rows])
        for rows in drawn
    ]
    found = {pair.name: pair for pair in compare_predictions(first, second).metrics}
    assert found["matthews_correlation"].difference_interval == pytest.approx(tuple(np.quantile(plain, [0.025, 0.975])))
    low, high = (classification_metrics(first)[f"accuracy_{end}"] for end in ("low", "high"))
    assert found["accuracy"].first_interval == (low, high)


def test_the_interval_agrees_with_scipys_paired_bootstrap() -> None:
    first, second = draw(400, 2, seed=1), draw(400, 2, seed=2)

    def difference(truth: np.ndarray, one: np.ndarray, other: np.ndarray) -> float:
        return float((truth == other).mean() - (truth == one).mean())

    samples = (first.truth, first.predicted, second.predicted)
    expected = bootstrap(
        samples, difference, paired=True, vectorized=False, method="percentile", n_resamples=1000,
        rng=np.random.default_rng(5),
    ).confidence_interval  # fmt: skip
    found = next(pair for pair in compare_predictions(first, second).metrics if pair.name == "accuracy")
    assert found.difference == pytest.approx(difference(*samples))
    assert found.difference_interval == pytest.approx((expected.low, expected.high), abs=0.015)


@pytest.mark.ci
@settings(deadline=None, max_examples=20)
@given(st.integers(2, 4), st.integers(5, 40), st.integers(0, 10**6), st.integers(0, 10**6), st.booleans())
def test_swapping_the_two_turns_every_sign(classes: int, rows: int, one: int, two: int, ordered: bool) -> None:
    first, second = draw(rows, classes, one), draw(rows, classes, two)
    there, back = compare_predictions(first, second, ordered), compare_predictions(second, first, ordered)
    assert (there.p_value, there.only_first, there.only_second) == (back.p_value, back.only_second, back.only_first)
    swapped = {"first": "second", "second": "first", None: None}
    assert there.better == swapped[back.better]
    for here, other in zip(there.metrics, back.metrics, strict=True):
        assert (here.name, here.difference) == (other.name, pytest.approx(-other.difference))
        low, high = other.difference_interval
        assert here.difference_interval == pytest.approx((-high, -low))
        assert here.better == swapped[other.better]
        assert here.first_interval == other.second_interval


@pytest.mark.ci
@settings(deadline=None, max_examples=20)
@given(st.integers(2, 4), st.integers(1, 40), st.integers(0, 10**6))
def test_a_classifier_does_not_differ_from_itself(classes: int, rows: int, seed: int) -> None:
    same = draw(rows, classes, seed)
    found = compare_predictions(same, same)
    assert (found.p_value, found.only_first, found.only_second, found.better) == (1.0, 0, 0, None)
    assert {(pair.difference, *pair.difference_interval, pair.better) for pair in found.metrics} == {(0, 0, 0, None)}


def test_mcnemar_counts_the_rows_on_which_exactly_one_is_right() -> None:
    first = telling([1] * 60 + [1] * 3 + [0] * 15 + [0] * 22)
    second = telling([1] * 60 + [0] * 3 + [1] * 15 + [0] * 22)
    found = compare_predictions(first, second)
    assert (found.only_first, found.only_second, found.better) == (3, 15, "second")
    # By hand: 2 * (C(18,0) + C(18,1) + C(18,2) + C(18,3)) / 2**18.
    assert found.p_value == pytest.approx(2 * (1 + 18 + 153 + 816) / 2**18)
    assert compare_predictions(telling([1, 1, 1, 1, 1, 0]), telling([0, 0, 0, 0, 0, 1])).better is None


def test_less_loss_is_better() -> None:
    sure, unsure = (Predictions(np.zeros(40, np.int64), np.tile([p, 1 - p], (40, 1))) for p in (0.9, 0.6))
    found = {pair.name: pair.better for pair in compare_predictions(unsure, sure).metrics}
    assert (found["loss"], found["accuracy"]) == ("second", None)


@pytest.mark.ci
@pytest.mark.parametrize("discordant", [0, 5, 6, 7, 20, 33, 120])
def test_the_smallest_difference_is_the_first_that_would_be_significant(discordant: int) -> None:
    counts = max(discordant, 6)
    gaps = [abs(2 * one - counts) for one in range(counts + 1) if binomtest(one, counts).pvalue < PRIMARY_LEVEL]
    assert smallest_difference(1000, discordant) == min(gaps) / 1000


def test_other_rows_are_a_mistake_of_the_caller() -> None:
    for one, two in combinations([draw(10, 2, 0), draw(11, 2, 0), draw(10, 3, 0), draw(10, 2, 0, truth_seed=1)], 2):
        with pytest.raises(ValueError, match="not scored on the same rows"):
            compare_predictions(one, two)
