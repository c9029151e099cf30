"""The bootstrap against a slow and plain one, and calibration against figures worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, balanced_accuracy_score, f1_score

from components.evaluation import metrics
from components.evaluation.curves import POINTS, calibration_bins, thin
from components.evaluation.labelled import Predictions
from components.evaluation.metrics import FEWEST_RESAMPLES, LABELS, bootstrap_intervals, classification_metrics


def draw(rows: int, classes: int, seed: int = 0, digits: int = 2) -> Predictions:
    """Return random predictions that are better than chance; with few digits there are ties."""
    random = np.random.default_rng(seed)
    truth = random.integers(classes, size=rows)
    scores = np.round(random.random((rows, classes)) + 0.4 * np.eye(classes)[truth], digits) + 0.01
    return Predictions(truth, scores / scores.sum(axis=1, keepdims=True))


def intervals(predictions: Predictions) -> dict[str, float]:
    return bootstrap_intervals(LABELS, predictions, predictions.classes)


@pytest.mark.ci
@pytest.mark.parametrize("classes", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_intervals_are_those_of_a_plain_bootstrap(classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "RESAMPLES", FEWEST_RESAMPLES)
    predictions = draw(40, classes)
    average = "binary" if classes == 2 else "macro"
    rows = np.random.default_rng(0).integers(40, size=(FEWEST_RESAMPLES, 40))
    values: dict[str, list[float]] = {"f1": [], "balanced_accuracy": [], "average_precision": []}
    for drawn in rows:
        truth, predicted = predictions.truth[drawn], predictions.predicted[drawn]
        scores = predictions.probabilities[drawn]
        assert len(set(truth)) == classes
        ones = np.eye(classes, dtype=int)[truth]
        chosen = slice(1, 2) if classes == 2 else slice(None)
        values["f1"].append(f1_score(truth, predicted, average=average))
        values["balanced_accuracy"].append(balanced_accuracy_score(truth, predicted))
        values["average_precision"].append(average_precision_score(ones[:, chosen], scores[:, chosen]))
    found = intervals(predictions)
    for name, each in values.items():
        low, high = np.quantile(each, [0.025, 0.975])
        assert (found[f"{name}_low"], found[f"{name}_high"]) == (pytest.approx(low), pytest.approx(high))


@pytest.mark.ci
def test_many_rows_are_drawn_in_blocks_and_narrow_the_interval() -> None:
    few, many = (intervals(draw(rows, 2, digits=6)) for rows in (200, 20_000))
    assert many["f1_high"] - many["f1_low"] == pytest.approx((few["f1_high"] - few["f1_low"]) / 10, rel=0.35)
    assert many == intervals(draw(20_000, 2, digits=6))


@pytest.mark.long
@given(st.integers(2, 4), st.integers(1, 30), st.integers(0, 10**6), st.booleans())
def test_what_is_reported_is_finite_and_inside_its_interval(classes: int, rows: int, seed: int, ordered: bool) -> None:
    predictions = draw(rows, classes, seed)
    values = classification_metrics(predictions, ordered)
    ends = intervals(predictions)
    assert all(np.isfinite(value) for value in (values | ends).values())
    assert {"accuracy", "balanced_accuracy", "brier", "calibration_error"} <= values.keys()
    # What has an interval has a value, and the other way round.
    for name in ("f1", "balanced_accuracy", "average_precision"):
        assert (name in values) == (f"{name}_low" in ends) == (f"{name}_high" in ends)
    assert ("mean_absolute_error" in values) == ordered


def test_calibration_by_hand() -> None:
    confidence = np.array([0.52, 0.54, 0.95, 1.0, 1.0])
    truth = np.array([0, 1, 0, 0, 1])
    predictions = Predictions(truth, np.column_stack([confidence, 1 - confidence]))
    bins = calibration_bins(predictions)
    assert list(bins.columns) == ["low", "high", "rows", "confidence", "accuracy"]
    by_hand = [[0.5, 0.55, 2, 0.53, 0.5], [0.9, 0.95, 1, 0.95, 1.0], [0.95, 1.0, 2, 1.0, 0.5]]
    np.testing.assert_allclose(bins.to_numpy(), by_hand)
    error = classification_metrics(predictions)["calibration_error"]
    assert error == pytest.approx((2 * 0.03 + 1 * 0.05 + 2 * 0.5) / 5)


def test_a_thin_curve_keeps_its_ends_and_its_area() -> None:
    x = np.linspace(0, 1, 100_000)
    y = x**0.1
    thin_x, thin_y = thin(x, y)
    assert len(thin_x) <= POINTS
    assert (thin_x[0], thin_y[0], thin_x[-1], thin_y[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(thin_y, thin_x) == pytest.approx(np.trapezoid(y, x), abs=1e-4)
    assert thin(x[:5], y[:5])[0].tolist() == x[:5].tolist()
