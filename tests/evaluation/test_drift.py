"""Drift: false alarms are held at their level, whatever the data look like, and real changes are found."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from components.evaluation.drift import ALPHA, OF_RESPONSES, Sample, drifts, words_of

WORDS = [f"word{number}" for number in range(400)]
KNOWN = set(WORDS[:350])
Draw = Callable[[np.random.Generator, int], Sample]


def sample(rng: np.random.Generator, rows: int, length: float = 8, spam: float = 0.2, wrong: float = 0.05) -> Sample:
    """Messages of which a fifth is spam and longer, with repeated words, ties and a discrete number of errors."""
    predicted = (rng.random(rows) < spam).astype(np.int64)
    counts = rng.poisson(length + 6 * predicted) + 1
    texts = [" ".join(rng.choice(WORDS, size=count)) for count in counts]
    probability = np.round(0.5 + rng.beta(5, 1, rows) / 2, 2)
    return Sample(texts, predicted, probability, (rng.random(rows) < wrong).astype(np.float64))


@pytest.mark.ci
def test_of_data_that_are_alike_one_in_a_hundred_raises_an_alarm_at_most() -> None:
    rng, looks = np.random.default_rng(1), 400
    alarms = 0
    for look in range(looks):
        found = drifts(sample(rng, 120), sample(rng, 80), KNOWN, most_drift=0, most_worse=0, seed=look)
        alarms += any(each.alarm for each in found)
    # As many as a rate of ALPHA gives in all but one of a thousand such simulations.
    assert alarms <= stats.binom.ppf(0.999, looks, ALPHA)


@pytest.mark.ci
@pytest.mark.parametrize(
    ("changed", "measure"),
    [
        ({"length": 12}, "length"),
        ({"spam": 0.5}, "labels"),
        ({"wrong": 0.2}, "errors"),
    ],
)
def test_what_has_changed_is_named(changed: dict[str, float], measure: str) -> None:
    rng = np.random.default_rng(2)
    found = drifts(sample(rng, 400), sample(rng, 300, **changed), KNOWN, most_drift=0.1, most_worse=0.02)
    assert measure in {each.measure for each in found if each.alarm}


def test_new_words_are_seen() -> None:
    rng = np.random.default_rng(3)
    reference, arrived = sample(rng, 300), sample(rng, 200)
    strange = Sample([text.replace("word1", "new1") for text in arrived.texts], arrived.classes, arrived.values)
    found = {each.measure: each for each in drifts(reference, strange, KNOWN, 0.1, 0.02)}
    assert [name for name, each in found.items() if each.alarm] == ["vocabulary"]
    assert "errors" not in found


def test_of_responses_other_words_are_used_and_their_errors_are_by_degrees() -> None:
    rng = np.random.default_rng(6)
    first, second = sample(rng, 300), sample(rng, 300)
    worse = Sample(second.texts, second.classes, second.values, 0.3 + rng.random(300) / 2)
    better = Sample(first.texts, first.classes, first.values, rng.random(300) / 2)
    found = {each.measure: each for each in drifts(better, worse, (), 0.1, 0.02, OF_RESPONSES)}
    assert set(found) == {"length", *OF_RESPONSES}
    assert [name for name, each in found.items() if each.alarm] == ["missed"]
    assert found["missed"].limit == 0.02


@pytest.mark.ci
def test_what_is_small_is_no_alarm_however_sure_it_is() -> None:
    rng = np.random.default_rng(4)
    found = drifts(sample(rng, 5000), sample(rng, 5000, spam=0.25), KNOWN, most_drift=0.1, most_worse=0.02)
    (labels,) = [each for each in found if each.measure == "labels"]
    assert labels.p_value <= ALPHA
    assert not labels.alarm


def test_distances_are_scipys() -> None:
    rng = np.random.default_rng(5)
    first, second = sample(rng, 200), sample(rng, 150, length=9, spam=0.3)
    found = {each.measure: each for each in drifts(first, second, KNOWN, 0.1, 0.02)}
    lengths = [[len(text) for text in each.texts] for each in (first, second)]
    assert found["length"].distance == pytest.approx(stats.ks_2samp(*lengths).statistic)
    assert found["confidence"].distance == pytest.approx(stats.ks_2samp(first.values, second.values).statistic)
    assert found["labels"].distance == pytest.approx(abs(first.classes.mean() - second.classes.mean()))
    assert first.wrong is not None
    assert second.wrong is not None
    assert found["errors"].distance == pytest.approx(second.wrong.mean() - first.wrong.mean())


def test_words_have_no_case() -> None:
    assert words_of(["Win NOW", "win, later!"]) == {"win", "now", "later"}
