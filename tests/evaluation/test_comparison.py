"""Two classifiers on the same rows: counts, p value and intervals against independent computations."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, bootstrap
from sklearn.metrics import f1_score

from components.errors import GradusError
from components.evaluation.comparison import Said, compare, compare_predictions, sentence
from components.evaluation.metrics import Predictions


def said(truth: np.ndarray, share: float, seed: int, classes: int = 2) -> Predictions:
    """A classifier that is right on about `share` of the rows."""
    random = np.random.default_rng(seed)
    predicted = np.where(random.random(len(truth)) < share, truth, random.integers(classes, size=len(truth)))
    probabilities = random.dirichlet(np.ones(classes), size=len(truth)) * 0.4
    probabilities[np.arange(len(truth)), predicted] += 0.6
    return Predictions(truth, probabilities)


TRUTH = np.random.default_rng(0).integers(2, size=400)


def test_counts_and_p_value_are_those_of_the_rows() -> None:
    first, second = said(TRUTH, 0.6, 1), said(TRUTH, 0.8, 2)
    found = compare_predictions(first, second)
    only_first = sum(a and not b for a, b in zip(first.correct, second.correct, strict=True))
    only_second = sum(b and not a for a, b in zip(first.correct, second.correct, strict=True))
    assert (found.only_first, found.only_second) == (only_first, only_second)
    assert found.p_value == pytest.approx(binomtest(only_first, only_first + only_second).pvalue)
    assert found.rows == 400
    assert "challenger is significantly better than champion" in sentence(found, "champion", "challenger")
    assert "worse" in sentence(compare_predictions(second, first), "one", "other")


@pytest.mark.parametrize("metric", ["accuracy", "f1"])
def test_intervals_are_those_of_scipys_paired_bootstrap(metric: str) -> None:
    first, second = said(TRUTH, 0.6, 1), said(TRUTH, 0.8, 2)
    one, other = first.predicted, second.predicted

    def difference(truth: np.ndarray, one: np.ndarray, other: np.ndarray) -> float:
        if metric == "f1":
            return float(f1_score(truth, other) - f1_score(truth, one))
        return float((truth == other).mean() - (truth == one).mean())

    expected = bootstrap(
        (TRUTH, one, other), difference, paired=True, vectorized=False, method="percentile", n_resamples=1000,
        rng=np.random.default_rng(5),
    ).confidence_interval  # fmt: skip
    found = compare_predictions(first, second).difference(metric)
    assert found.second - found.first == pytest.approx(difference(TRUTH, one, other))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.015)


def test_a_model_does_not_differ_from_itself() -> None:
    model = said(TRUTH, 0.7, 1)
    found = compare_predictions(model, model)
    assert found.p_value == 1
    assert not found.significant
    assert all(each.low == each.high == 0 for each in found.differences)
    assert "no significant difference" in sentence(found, "a", "b")


@settings(max_examples=15, deadline=None)
@given(st.integers(30, 120), st.integers(2, 4), st.integers(0, 1000))
def test_the_other_way_round_everything_is_mirrored(rows: int, classes: int, seed: int) -> None:
    truth = np.random.default_rng(seed).integers(classes, size=rows)
    first, second = (said(truth, share, seed + 1, classes) for share in (0.4, 0.9))
    there, back = compare_predictions(first, second), compare_predictions(second, first)
    assert there.p_value == back.p_value
    assert (there.only_first, there.only_second) == (back.only_second, back.only_first)
    for one, other in zip(there.differences, back.differences, strict=True):
        assert (one.first, one.second) == (other.second, other.first)
        assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-12)


def table(texts: list[str], seed: int, labels: tuple[str, str] = ("ham", "spam")) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    spam = random.random(len(texts))
    frame = pd.DataFrame({"row": range(len(texts)), "text": texts, "label": np.resize(labels, len(texts))})
    frame = frame.assign(**{f"p_{labels[0]}": 1 - spam, f"p_{labels[1]}": spam})
    return frame.sample(frac=1, random_state=seed)  # each run sorts its rows by its own errors


def test_rows_of_the_same_split_are_matched_whatever_their_order() -> None:
    texts = [f"text {number}" for number in range(60)]
    one = table(texts, 1)
    found = compare(Said(one, set(texts)), Said(one.sample(frac=1, random_state=9), set()), same_data=True)
    assert found.rows == 60
    assert found.only_first == found.only_second == 0


def test_rows_of_different_splits_are_matched_by_text_without_what_was_trained_on() -> None:
    texts = [f"text {number}" for number in range(80)]
    first = Said(table(texts[:70], 1), {"text 3", "elsewhere"})
    second = Said(table(texts[10:], 2), {"text 12", "text 50"})
    assert compare(first, second, same_data=False).rows == 60 - 2


def test_too_few_common_rows_and_other_labels_are_refused() -> None:
    one = table([f"a {number}" for number in range(40)], 1)
    other = table([f"b {number}" for number in range(40)], 1)
    with pytest.raises(GradusError, match="have 0 test rows in common that neither was trained on, at least 30"):
        compare(Said(one, set()), Said(other, set()), same_data=False)
    named = table([f"a {number}" for number in range(40)], 1, ("no", "yes"))
    with pytest.raises(GradusError, match=r"different labels \(ham, spam; no, yes\)"):
        compare(Said(one, set()), Said(named, set()), same_data=True)
