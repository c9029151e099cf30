"""The cheap classifiers that every run is compared with."""

import numpy as np

from components.evaluation.baselines import fit_baselines


def test_fitted_twice_on_the_same_rows_they_say_the_same() -> None:
    drawn = np.random.default_rng(0)
    words = [f"word{number}" for number in range(200)]
    texts = [" ".join(drawn.choice(words, 10)) for _ in range(300)]
    truth = np.array([int("word7" in text.split() or drawn.random() < 0.3) for text in texts])
    first, second = (fit_baselines(texts, truth, [0.7, 0.3]) for _ in range(2))
    for name, baseline in first.items():
        np.testing.assert_array_equal(baseline(texts), second[name](texts), err_msg=name)
