"""Metrics against figures worked out by hand or by another library."""

import numpy as np
import pytest
from sklearn.metrics import log_loss

from components.evaluation.metrics import Predictions, classification_metrics, confusion, mcnemar, wilson_interval


def binary(truth: list[int], positive: list[float]) -> Predictions:
    second = np.array(positive)
    return Predictions(np.array(truth), np.column_stack([1 - second, second]))


def test_binary_metrics_are_those_of_the_second_class() -> None:
    # Predicted positive: rows 0, 1, 3; truly positive: rows 0, 1, 2.
    found = classification_metrics(binary([1, 1, 1, 0, 0, 0], [0.9, 0.8, 0.2, 0.7, 0.1, 0.3]))
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["precision"] == pytest.approx(2 / 3)
    assert found["recall"] == pytest.approx(2 / 3)
    assert found["f1"] == pytest.approx(2 / 3)
    # By falling probability: hit, hit, miss, miss, hit -> (1/1 + 2/2 + 3/5) / 3.
    assert found["average_precision"] == pytest.approx((1 + 1 + 3 / 5) / 3)
    assert found["loss"] == pytest.approx(log_loss([1, 1, 1, 0, 0, 0], [0.9, 0.8, 0.2, 0.7, 0.1, 0.3]))


def test_three_classes_are_averaged_over_classes() -> None:
    probabilities = np.eye(3)[[0, 0, 1, 2, 2, 2]] * 0.7 + 0.1
    found = classification_metrics(Predictions(np.array([0, 0, 1, 1, 2, 2]), probabilities))
    # Precision 1, 1, 2/3; recall 1, 1/2, 1.
    assert found["precision"] == pytest.approx((1 + 1 + 2 / 3) / 3)
    assert found["recall"] == pytest.approx((1 + 0.5 + 1) / 3)
    assert found["balanced_accuracy"] == found["recall"]


@pytest.mark.parametrize(("right", "low", "high"), [(285, 0.919, 0.969), (295, 0.962, 0.993)])
def test_wilson_interval_of_300_rows(right: int, low: float, high: float) -> None:
    # The tutorial's 95.00 % and 98.33 % of 300 rows.
    assert wilson_interval(right, 300) == (pytest.approx(low, abs=5e-4), pytest.approx(high, abs=5e-4))


def test_a_certain_mistake_costs_much_but_not_everything() -> None:
    assert np.isfinite(classification_metrics(binary([1, 0], [0.0, 0.0]))["loss"])


def test_confusion_has_true_classes_as_rows() -> None:
    assert confusion(binary([1, 1, 0], [0.1, 0.9, 0.9])) == [[0, 1], [1, 1]]


def test_mcnemar_looks_only_at_rows_where_one_is_right() -> None:
    truth = [0] * 20
    good, bad = [0.1] * 20, [0.9] * 10 + [0.1] * 10
    # Ten rows that only the first gets right: 2 * 0.5 ** 10.
    assert mcnemar(binary(truth, good), binary(truth, bad)) == pytest.approx(2 * 0.5**10)
    assert mcnemar(binary(truth, good), binary(truth, good)) == 1.0
