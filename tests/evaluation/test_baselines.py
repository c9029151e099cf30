"""The cheap classifiers that every run is compared with."""

import numpy as np
import pytest

from components.evaluation import baselines
from components.evaluation.baselines import fit_baselines


@pytest.mark.ci
def test_fitted_twice_on_the_same_rows_they_say_the_same() -> None:
    drawn = np.random.default_rng(0)
    words = [f"word{number}" for number in range(200)]
    texts = [" ".join(drawn.choice(words, 10)) for _ in range(300)]
    truth = np.array([int("word7" in text.split() or drawn.random() < 0.3) for text in texts])
    first, second = (fit_baselines(texts, truth, [0.7, 0.3]) for _ in range(2))
    for name, baseline in first.items():
        np.testing.assert_array_equal(baseline(texts), second[name](texts), err_msg=name)


@pytest.mark.parametrize("rare", [0, 1, *(pytest.param(rare, marks=pytest.mark.slow) for rare in (2, 5))])
def test_a_class_of_few_rows_among_many_is_no_error(rare: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "BASELINE_ROWS", {"tfidf": 4_000, "svm": 2_000})
    monkeypatch.setattr(baselines, "TUNING_ROWS", 300)
    truth = np.zeros(3_000, np.int64)
    truth[[17, 471, 1_234, 2_001, 2_999][:rare]] = 1
    texts = ["claim the prize" if label else f"hello again {row % 97}" for row, label in enumerate(truth)]
    said = fit_baselines(texts, truth, [0.99, 0.01])["svm"](["claim the prize", "hello again 5"])
    np.testing.assert_allclose(said.sum(1), 1)
    if rare > 2:
        assert (said.argmax(1) == [1, 0]).all()


@pytest.mark.ci
def test_one_row_of_a_third_class_leaves_the_others_calibrated() -> None:
    drawn = np.random.default_rng(0)
    texts = [" ".join(drawn.choice(["up", "down", "left", "right"], 6)) for _ in range(600)]
    truth = drawn.integers(0, 2, 600)
    truth[7] = 2
    said = fit_baselines(texts, truth, [0.5, 0.5, 0.0])["svm"](texts)
    assert abs(said[:, :2].mean() - 0.5) < 0.02
    assert said.max() < 0.7, "there is nothing to learn, and what is fitted on its own rows would claim there is"
