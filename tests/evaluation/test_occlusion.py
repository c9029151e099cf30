"""Which words of a text weighed, by a classifier of which that is known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from components.evaluation.occlusion import MOST, weigh_words


class Counting:
    """Gives `prize` 0.6 and `win` 0.2 of the first label's probability; counts how often it is asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def __call__(self, texts: list[str]) -> NDArray[np.float64]:
        self.asked.append(texts)
        spam = np.array([0.1 + 0.6 * ("prize" in text) + 0.2 * ("win" in text) for text in texts])
        return np.stack([spam, 1 - spam], axis=1)


def test_a_word_weighs_what_the_label_loses_without_it() -> None:
    model = Counting()
    found = weigh_words("You win  a\nprize!", model)
    assert (found.label, found.probabilities[0]) == (0, pytest.approx(0.9))
    assert "".join(found.pieces) == "You win  a\nprize!"
    weights = {piece: weight for piece, weight in zip(found.pieces, found.weights, strict=True) if weight is not None}
    assert weights == pytest.approx({"You": 0, "win": 0.2, "a": 0, "prize!": 0.6})


def test_the_model_is_asked_once_for_all_texts() -> None:
    model = Counting()
    weigh_words("You win a prize", model)
    assert model.asked == [["You win a prize", " win a prize", "You  a prize", "You win  prize", "You win a "]]


def test_a_word_that_speaks_against_the_label_weighs_less_than_nothing() -> None:
    found = weigh_words("win lunch", Counting())
    assert (found.label, found.weights[0]) == (1, pytest.approx(-0.2))


def test_scripts_without_blanks_are_weighed_by_character() -> None:
    assert weigh_words("プ 한국 好的", Counting()).pieces == ["プ", " ", "한국", " ", "好", "的"]


def test_of_a_long_text_the_first_words_are_weighed() -> None:
    model = Counting()
    found = weigh_words("a " * 2 * MOST + "prize", model)
    assert len(model.asked[0]) == MOST + 1
    assert found.weights[-1] is None


def test_an_empty_text_has_no_words() -> None:
    assert weigh_words("", Counting()).weights == []
