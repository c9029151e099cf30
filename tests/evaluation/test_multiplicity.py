"""Of equal models few comparisons name a winner in any metric, and of different ones those that differ are named."""

import numpy as np
import pandas as pd
import pytest

from components.evaluation.labelled import Predictions
from components.evaluation.paired.comparison import compare_predictions, compare_responses
from components.evaluation.paired.p_values import LEVEL, different

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
