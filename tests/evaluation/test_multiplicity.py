"""Of equal models few comparisons name a winner in any metric, and of different ones those that differ are named."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from components.evaluation.labelled import Predictions
from components.evaluation.paired.comparison import compare_predictions, compare_responses, corrected
from components.evaluation.paired.p_values import LEVEL, different, different_among, holm_adjusted

TRIALS = 300
MOST = 0.08
"""Share of trials with a winner: 0.05, and 2.33 standard errors of 300 trials."""


def classifiers(seed: int, rows: int, classes: int, better: float = 0.0) -> tuple[Predictions, Predictions]:
    """Return two classifiers that err on much the same rows; the second holds `better` more of the truth."""
    random = np.random.default_rng(seed)
    truth = random.integers(classes, size=rows)
    common = random.normal(size=(rows, classes)) + 1.5 * np.eye(classes)[truth]
    found = []
    for ahead in (0.0, better):
        scores = common + 0.7 * random.normal(size=(rows, classes)) + ahead * np.eye(classes)[truth]
        exponentials = np.exp(scores)
        found.append(Predictions(truth, exponentials / exponentials.sum(axis=1, keepdims=True)))
    return found[0], found[1]


@pytest.mark.ci
@pytest.mark.parametrize(
    ("rows", "classes", "ordered", "trials", "most"),
    [
        (120, 2, False, 60, 0.117),  # 0.05, and 2.33 standard errors of 60 trials
        pytest.param(120, 2, False, TRIALS, MOST, marks=pytest.mark.slow),
        pytest.param(300, 5, True, TRIALS, MOST, marks=pytest.mark.slow),
    ],
)
def test_equal_classifiers_have_a_winner_in_few_comparisons(
    rows: int, classes: int, ordered: bool, trials: int, most: float
) -> None:
    named = 0
    for seed in range(trials):
        paired = compare_predictions(*classifiers(seed, rows, classes), ordered, seed)
        named += any(each.better for each in paired.metrics)
    assert named / trials <= most


@pytest.mark.slow
@pytest.mark.parametrize("primary", ["loss", "f1"])
def test_whichever_metric_decides(primary: str) -> None:
    named = 0
    for seed in range(TRIALS):
        paired = compare_predictions(*classifiers(seed, 200, 2), seed=seed, primary=primary)
        named += any(each.better for each in paired.metrics)
    assert named / TRIALS <= MOST


@pytest.mark.slow
def test_equal_responses_have_a_winner_in_few_comparisons() -> None:
    named = 0
    for seed in range(TRIALS):
        random = np.random.default_rng(seed)
        common = random.normal(70, 20, 120)
        tables = []
        for _ in range(2):
            chrf = np.clip(common + random.normal(0, 15, 120), 0, 100)
            exact = (chrf > 90).astype(float)
            score = np.clip(np.round(chrf + random.normal(0, 10, 120)), 0, 100)
            tables.append(pd.DataFrame({"score": score, "exact_match": exact, "token_f1": chrf / 100, "chrf": chrf}))
        found = compare_responses(tables[0], tables[1], seed=seed)
        named += any(each.better for each in found.metrics)
    assert named / TRIALS <= MOST


def test_a_better_classifier_is_found_in_the_metric_that_decides_and_in_others() -> None:
    paired = compare_predictions(*classifiers(1, 1000, 2, better=1.0))
    assert paired.better == "second"
    assert {"accuracy", "loss", "f1", "roc_auc"} <= {each.name for each in paired.metrics if each.better == "second"}


def test_a_difference_is_named_without_one_in_accuracy_if_it_is_large() -> None:
    first, second = classifiers(2, 1000, 2)
    sure = np.where(second.probabilities > 0.5, 0.9999, 0.0001)
    paired = compare_predictions(first, Predictions(second.truth, sure))
    assert paired.better is None
    assert {each.name for each in paired.metrics if each.better == "first"} >= {"loss", "calibration_error"}


def test_the_rule_by_hand() -> None:
    others = {"f1": 0.004, "loss": 0.02, "brier": 0.5}
    assert different("accuracy", {"accuracy": 0.03, **others}) == {"accuracy", "f1", "loss"}, "others have 5 %"
    assert different("accuracy", {"accuracy": 0.045, **others}) == frozenset(), "others have 1 %: 0.004 > 0.01 / 3"
    assert different("accuracy", {"accuracy": 0.2, "f1": 0.003, "loss": 0.006}) == {"f1", "loss"}
    assert different("accuracy", {"f1": 0.02}) == frozenset()
    assert different("accuracy", {}) == frozenset()
    assert LEVEL == 0.05


def several(seed: int, runs: int, rows: int = 120) -> list[Predictions]:
    """Return classifiers that are equally good and err on much the same rows."""
    random = np.random.default_rng(seed)
    truth = random.integers(2, size=rows)
    common = random.normal(size=rows) + 1.5 * (2 * truth - 1)
    chances = [1 / (1 + np.exp(-(common + 0.7 * random.normal(size=rows)))) for _ in range(runs)]
    return [Predictions(truth, np.stack([1 - chance, chance], axis=1)) for chance in chances]


@pytest.mark.slow
def test_of_many_equal_runs_few_comparisons_with_a_baseline_name_a_winner() -> None:
    together = alone = 0
    for seed in range(TRIALS):
        baseline, *others = several(seed, 8)
        found = [compare_predictions(baseline, other, seed=seed) for other in others]
        alone += any(each.better for paired in found for each in paired.metrics)
        together += any(each.better for paired in corrected(found) for each in paired.metrics)
    assert together / TRIALS <= MOST
    assert alone / TRIALS > MOST, "without the correction there are more"


@pytest.mark.ci
def test_the_metric_that_decides_is_corrected_for_all_comparisons() -> None:
    """Of the metric that decides alone: 20,000 families of 7 tests of equals, as p values of a common baseline are."""
    random = np.random.default_rng(1)
    scores = random.normal(size=(20_000, 1)) + random.normal(size=(20_000, 7))
    p_values = 2 * norm.sf(np.abs(scores) / np.sqrt(2))
    named = [any(different_among("a", [{"a": each} for each in family])) for family in p_values.tolist()]
    assert np.mean(named) <= 0.04
    assert (p_values < 0.04).any(axis=1).mean() > 0.1, "without the correction there would be far more"


def test_the_rule_for_several_comparisons_by_hand() -> None:
    first, second, third = {"a": 0.01, "b": 0.002}, {"a": 0.019, "b": 0.5}, {"a": 0.5, "b": 0.5}
    assert different_among("a", [first, second, third]) == [{"a", "b"}, {"a"}, set()]
    assert different_among("a", [{"a": 0.015}, {"a": 0.5}, {"a": 0.5}]) == [set(), set(), set()]
    assert different_among("a", [{"a": 0.001, "b": 0.02}, {"a": 0.001}]) == [{"a", "b"}, {"a"}], "all differ: 5 %"
    assert holm_adjusted({"x": 0.01, "y": 0.04, "z": 0.03}) == pytest.approx({"x": 0.03, "z": 0.06, "y": 0.06})
    assert holm_adjusted({"x": 0.9, "y": 0.8}) == {"x": 1.0, "y": 1.0}
    assert holm_adjusted({}) == {}
