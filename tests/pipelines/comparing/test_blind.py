"""Rating blind, in a real MLflow store: whose a response is shows only afterwards, and `gradus rate` counts it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from components.core.errors import ConfigError, NotComparable
from components.tracking.ratings import MODEL, START, read_ratings
from pipelines.comparing.blind import Asked, begin, keep, skip, verdicts
from tests.pipelines.answered_runs import ROWS, answered_run, gradus

Make = Callable[..., str]


@pytest.fixture
def make(home: Path, tmp_path: Path) -> Make:
    """A function that records a finished run whose first `wrong` test responses are not the references."""
    return lambda wrong, **how: answered_run(home, tmp_path / f"{wrong}-{len(how)}", wrong, **how)


def authors(asked: Asked) -> list[str]:
    return [written.author.of for written in asked.written]


@pytest.mark.ci
def test_a_rating_is_an_assessment_as_gradus_rate_keeps_it(home: Path, make: Make) -> None:
    run = make(20)
    found = begin(run, None, "anna", home, seed=1)
    asked = found.now
    assert asked
    assert (len(found.asked), len(asked.written)) == (ROWS, 2)
    kept = keep(found, [75, "bad"], "hm", home)
    assert kept is asked
    values = dict(zip(authors(asked), (75, 0), strict=True))
    row = asked.written[0].response.row
    for of in (MODEL, START):
        [rating] = read_ratings(run, home, of)
        assert (rating.row, rating.value, rating.by, rating.comment) == (row, values[of], "anna", "hm")
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    traces = client.search_traces(locations=[client.get_run(run).info.experiment_id], run_id=run)
    assessed = {tag: trace.info.assessments for trace in traces for tag in (MODEL, START) if tag in trace.info.tags}
    assert [assessed[MODEL][0].name, assessed[MODEL][0].source.source_id] == ["rating", "anna"]
    counted = json.loads(gradus(home, "rate", run, "--json").stdout)
    assert (counted["ratings"], counted["rated"]) == (1, 1), "what the model before training wrote is none of the run's"


@pytest.mark.ci
def test_both_orders_are_drawn(home: Path, make: Make) -> None:
    run = make(21)
    one, again, other = (begin(run, None, "anna", home, seed) for seed in (1, 1, 2))
    rows = [[each.written[0].response.row for each in found.asked] for found in (one, again, other)]
    assert rows[0] == rows[1] != rows[2]
    assert sorted(rows[0]) == sorted(rows[2]) != rows[0]
    first = [authors(each)[0] for each in one.asked]
    assert ROWS / 4 < first.count(MODEL) < ROWS * 3 / 4


def test_who_comes_back_goes_on_with_what_is_left(home: Path, make: Make) -> None:
    run = make(22)
    found = begin(run, None, "anna", home, seed=1)
    keep(found, [100, 0], "", home)
    skip(found)
    assert (found.done, found.rated) == (2, 1)
    again = begin(run, None, "anna", home, seed=1)
    assert (again.rated, again.total, len(again.asked)) == (1, ROWS, ROWS - 1)
    assert begin(run, None, "ben", home).rated == 0


def test_two_runs_are_rated_on_the_entries_that_both_have(home: Path, make: Make) -> None:
    one, other = make(23), make(24, first=61)
    found = begin(one, other, "anna", home, seed=1)
    assert found.total == ROWS - 60
    asked = found.now
    assert asked
    keep(found, [25, 50], "", home)
    for written, value in zip(asked.written, (25, 50), strict=True):
        assert [each.value for each in read_ratings(written.author.run_id, home)] == [value]
    assert {written.author.run_id for written in asked.written} == {one, other}


def test_what_cannot_be_rated_is_one_line_and_nothing_is_kept(home: Path, make: Make) -> None:
    run = make(25)
    found = begin(run, None, "anna", home)
    for given in ([75], [75, None], [75, 101], []):
        with pytest.raises(ConfigError, match="rate each response first"):
            keep(found, given, "", home)
    assert (found.done, read_ratings(run, home)) == (0, [])
    with pytest.raises(ConfigError, match="say who rates"):
        begin(run, None, "  ", home)
    with pytest.raises(ConfigError, match="both runs are the same"):
        begin(run, run, "anna", home)
    with pytest.raises(NotComparable, match="nothing in common"):
        begin(run, make(26, first=5000), "anna", home)
    while found.now:
        skip(found)
    with pytest.raises(ConfigError, match="no response to rate"):
        keep(found, [75, 75], "", home)


def test_verdicts_stand_beside_what_people_say(home: Path, make: Make) -> None:
    run = make(27)
    found = begin(run, None, "anna", home, seed=3)
    assert found.now
    row = found.now.written[0].response.row
    values = [80 if of == MODEL else 10 for of in authors(found.now)]
    keep(found, values, "", home)
    table = verdicts(run, home).set_index("row")
    assert table["people"].dropna().to_dict() == {row: 80}
    assert table["score"].is_monotonic_increasing
