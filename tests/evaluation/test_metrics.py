"""Metrics against figures worked out by hand or by another library."""

import numpy as np
import pytest
from sklearn import metrics as sk

from components.evaluation.labelled import Predictions
from components.evaluation.metrics import (
    LABELS,
    METRICS,
    Metric,
    bootstrap_intervals,
    classification_metrics,
    confusion,
    evaluated,
    per_class,
    wilson_interval,
)
from components.evaluation.paired.comparison import compare
from components.evaluation.paired.p_values import mcnemar
from components.evaluation.weighted import MeanOf, Weighted


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
    assert found["loss"] == pytest.approx(sk.log_loss([1, 1, 1, 0, 0, 0], [0.9, 0.8, 0.2, 0.7, 0.1, 0.3]))


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
    first, second = (binary(truth, each).correct for each in (good, bad))
    assert mcnemar(first, second) == pytest.approx(2 * 0.5**10)
    assert mcnemar(first, first) == 1.0


def test_further_metrics_by_hand() -> None:
    found = classification_metrics(binary([1, 1, 1, 0, 0, 0], [0.9, 0.8, 0.2, 0.7, 0.1, 0.3]))
    # Of the nine pairs of a positive and a negative row the second positive comes first in 3 + 3 + 1.
    assert found["roc_auc"] == pytest.approx(7 / 9)
    # Two of three right on either side: (4 - 1) / 9.
    assert found["matthews_correlation"] == pytest.approx(3 / 9)
    assert found["brier"] == pytest.approx((0.01 + 0.04 + 0.64 + 0.49 + 0.01 + 0.09) / 6)
    assert "mean_absolute_error" not in found


def test_ordered_labels_count_by_how_far_off_they_are() -> None:
    near = Predictions(np.array([0, 1, 2, 3, 4]), np.eye(5)[[1, 1, 2, 3, 3]])
    far = Predictions(np.array([0, 1, 2, 3, 4]), np.eye(5)[[4, 1, 2, 3, 0]])
    by_name = [classification_metrics(predictions, ordered=True) for predictions in (near, far)]
    assert [found["accuracy"] for found in by_name] == [0.6, 0.6]
    assert [found["mean_absolute_error"] for found in by_name] == [2 / 5, 8 / 5]
    # 1 - sum of squares seen / expected from the margins: near (0 2 1 2 0 against 1 1 1 1 1), far (as truth).
    squares = sum((said - true) ** 2 for said in (1, 1, 2, 3, 3) for true in range(5)) / 5
    assert by_name[0]["quadratic_weighted_kappa"] == pytest.approx(1 - 2 / squares)
    assert by_name[1]["quadratic_weighted_kappa"] == pytest.approx(1 - 32 / 20)


def test_one_class_alone_has_no_kappa_and_no_roc() -> None:
    found = classification_metrics(Predictions(np.array([1, 1]), np.eye(3)[[1, 1]]), ordered=True)
    assert "quadratic_weighted_kappa" not in found
    assert "roc_auc" not in found
    assert (found["f1"], found["mean_absolute_error"]) == (1.0, 0.0)


def test_per_class_figures_say_what_is_undefined() -> None:
    rows = per_class(Predictions(np.array([0, 0, 1]), np.eye(3)[[0, 1, 1]]), ["a", "b", "c"])
    assert [row["rows"] for row in rows] == [2, 1, 0]
    assert [row["predicted"] for row in rows] == [1, 2, 0]
    assert [row["precision"] for row in rows] == [1.0, 0.5, None]
    assert [row["recall"] for row in rows] == [0.5, 1.0, None]
    assert rows[2]["average_precision"] is None


def draw(rows: int, classes: int, seed: int) -> Predictions:
    """Return random predictions, better than chance and with ties."""
    random = np.random.default_rng(seed)
    truth = random.permutation(np.arange(rows) % classes)
    scores = np.round(random.random((rows, classes)) + 0.4 * np.eye(classes)[truth], 1) + 0.01
    return Predictions(truth, scores / scores.sum(axis=1, keepdims=True))


@pytest.mark.ci
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_metrics_are_those_of_scikit_learn(classes: int) -> None:
    said = draw(97, classes, seed=classes)
    truth, predicted, chosen = said.truth, said.predicted, slice(1, 2) if classes == 2 else slice(None)
    ones = np.eye(classes, dtype=int)[truth][:, chosen]
    average = {"average": "binary" if classes == 2 else "macro"}
    expected = {
        "accuracy": sk.accuracy_score(truth, predicted),
        "balanced_accuracy": sk.balanced_accuracy_score(truth, predicted),
        "precision": sk.precision_score(truth, predicted, **average),
        "recall": sk.recall_score(truth, predicted, **average),
        "f1": sk.f1_score(truth, predicted, **average),
        "average_precision": sk.average_precision_score(ones, said.probabilities[:, chosen]),
        "roc_auc": sk.roc_auc_score(ones, said.probabilities[:, chosen]),
        "matthews_correlation": sk.matthews_corrcoef(truth, predicted),
        "quadratic_weighted_kappa": sk.cohen_kappa_score(truth, predicted, weights="quadratic"),
        "mean_absolute_error": sk.mean_absolute_error(truth, predicted),
        "loss": sk.log_loss(truth, said.probabilities),
    }
    found = classification_metrics(said, ordered=True)
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert found.keys() >= {metric.name for metric in LABELS}
    for label, row in enumerate(per_class(said, list("abcde")[:classes])):
        assert row["roc_auc"] == pytest.approx(sk.roc_auc_score(truth == label, said.probabilities[:, label]))
        assert row["f1"] == pytest.approx(sk.f1_score(truth == label, predicted == label))


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS.keys())
def test_a_row_of_the_table_has_what_its_test_and_its_interval_go_by(metric: Metric) -> None:
    assert metric.title
    assert metric.low < metric.high
    if metric.test in ("mcnemar", "permutation") or metric.interval == "wilson":
        assert isinstance(metric.function, MeanOf), "the mean of what each row has"
    assert metric.better or not metric.test, "two are compared by what says who is better"


def test_a_new_metric_is_a_row() -> None:
    def specificity(weighted: Weighted) -> np.ndarray:
        negatives = weighted.counts[:, 0]
        return negatives[:, 0] / negatives.sum(axis=1)

    row = Metric("specificity", "specificity", specificity, interval="bootstrap")
    first, second = binary([0, 0, 0, 1], [0.1, 0.2, 0.9, 0.8]), binary([0, 0, 0, 1], [0.1, 0.2, 0.3, 0.8])
    assert evaluated([row], first) == {"specificity": pytest.approx(2 / 3)}
    assert bootstrap_intervals([row], first, 2)["specificity_high"] == 1.0
    (pair,) = compare([row], first, second, 2, seed=0)
    assert pair.difference == pytest.approx(1 / 3)
