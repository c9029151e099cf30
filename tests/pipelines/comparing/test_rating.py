"""People's ratings in a real MLflow store: brought in, given in its page, and beside what judges say."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import AssessmentSource, Feedback
from mlflow.tracing.client import TracingClient

from components.tracking.ratings import read_ratings, trace_id
from pipelines.comparing.rating import response_of
from tests.pipelines.answered_runs import ROWS, answered_run, gradus

Make = Callable[..., str]


@pytest.fixture
def make(home: Path, tmp_path: Path) -> Make:
    """A function that records a finished run whose first `wrong` test responses are not the references."""
    return lambda wrong, name="run": answered_run(home, tmp_path / f"{name}-{wrong}", wrong)


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def traces(home: Path, run_id: str) -> dict[str, object]:
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    experiment = client.get_run(run_id).info.experiment_id
    found = client.search_traces(locations=[experiment], run_id=run_id, max_results=500)
    return {trace.info.tags["gradus.row"]: trace for trace in found}


def test_ratings_become_assessments_of_traces(home: Path, make: Make, tmp_path: Path) -> None:
    run = make(20)
    file = write(tmp_path / "ratings.csv", "row,rating,rater,comment", "1,90,anna,good", "2,bad,ben,", "2,30,anna,")
    done = gradus(home, "rate", run, "--file", str(file), "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["offered"], found["changed"], found["ratings"], found["rated"], found["people"]) == (2, 3, 3, 2, 2)
    there = traces(home, run)
    assert set(there) == {"1", "2"}
    [assessment] = there["1"].info.assessments  # type: ignore[attr-defined]
    assert (assessment.name, assessment.value, assessment.rationale) == ("rating", 90, "good")
    assert (assessment.source.source_type, assessment.source.source_id) == ("HUMAN", "anna")
    [span] = there["1"].data.spans  # type: ignore[attr-defined]
    assert span.inputs["instruction"] == "Say the number 1."

    again = json.loads(gradus(home, "rate", run, "--file", str(file), "--json").stdout)
    assert (again["offered"], again["changed"], again["ratings"]) == (0, 0, 3)
    write(file, "row,rating,rater", "1,10,anna")
    changed = json.loads(gradus(home, "rate", run, "--file", str(file), "--json").stdout)
    assert (changed["changed"], changed["ratings"]) == (1, 3)


@pytest.mark.ci
def test_what_is_rated_in_mlflows_page_is_read_back(home: Path, make: Make) -> None:
    run = make(21)
    offered = gradus(home, "rate", run)
    assert f"{ROWS:,} responses have got a trace" in offered.stdout
    client = TracingClient(f"sqlite:///{home}/mlflow.db")
    for row, value in ((1, True), (2, False), (3, "good"), (4, "what is this?")):
        person = AssessmentSource("HUMAN", "carla")
        client.log_assessment(trace_id(run, row), Feedback(name="quality", value=value, source=person))
    client.log_assessment(trace_id(run, 5), Feedback(name="quality", value=True, source=AssessmentSource("CODE", "x")))
    found = json.loads(gradus(home, "rate", run, "--json").stdout)
    assert (found["offered"], found["ratings"], found["rated"]) == (0, 3, 3)


@pytest.mark.ci
def test_judges_are_measured_by_people(home: Path, make: Make, tmp_path: Path) -> None:
    """In a run whose first 40 responses are wrong, people say so but for two of them."""
    run = make(40)
    lines = [f"{row},{'good' if row > 40 or row < 23 else 'bad'}" for row in range(21, 61)]
    done = gradus(home, "rate", run, "--file", str(write(tmp_path / "ratings.csv", "row,rating", *lines)))
    assert done.exit_code == 0, done.stderr
    shown = gradus(home, "judge", run, "--ratings", "--json")
    assert shown.exit_code == 0, shown.stderr
    found = json.loads(shown.stdout)
    [judge] = found["judges"]
    assert (found["rated"], judge["rows"], judge["judge"][:4]) == (40, 40, "chrF")
    assert judge["agreement"]["agreed"] == pytest.approx(38 / 40)
    assert judge["agreement"]["kappa"] == pytest.approx(0.9)
    assert judge["agreement"]["interval"][0] < 0.9 < judge["agreement"]["interval"][1]
    assert judge["longer"]["kappa"] is not None
    assert "Cohen's kappa" in gradus(home, "judge", run, "--ratings").stdout


@pytest.mark.ci
def test_a_comparison_says_whether_the_judge_prefers_what_people_do(home: Path, make: Make, tmp_path: Path) -> None:
    one, other = make(60, "one"), make(20, "other")
    for run, good in ((one, set()), (other, set(range(21, 61)))):
        rows = [f"{row},{'good' if row in good else 'bad'}" for row in range(16, 36)]
        assert gradus(home, "rate", run, "--file", str(write(tmp_path / "r.csv", "row,rating", *rows))).exit_code == 0
    done = gradus(home, "compare", one, other, "--json")
    assert done.exit_code == 0, done.stderr
    people = json.loads(done.stdout)["people"]
    assert (people["rows"], people["judge"]["agreed"], people["judge"]["kappa"]) == (20, 1.0, 1.0)
    assert people["longer"]["agreed"] == 1.0, "here the right responses are the longer ones"
    assert "People prefer the response that the judge prefers on 100.0%" in " ".join(
        gradus(home, "compare", one, other).stdout.split()
    )


@pytest.mark.ci
def test_bad_ratings_are_named_and_nothing_is_kept(home: Path, make: Make, tmp_path: Path) -> None:
    run = make(22)
    for name, lines, said, code in (
        ("a.csv", ["row,rating", "1,90", "2,wonderful"], "rating 2: 'wonderful' is no rating", 1),
        ("b.csv", ["row,rating", "1,90", "99999,3"], "no response to row '99999'", 1),
        ("c.csv", ["row,score", "1,90"], "has no column rating", 1),
        ("d.csv", ["row,rating"], "holds no ratings", 1),
        ("e.xlsx", ["PK"], "ratings are read from .csv", 2),
        ("f.csv", ["row,rating", "1,101"], "'101' is no rating", 1),
        ("h.csv", ["row,rating", "1,1", "2,0"], "is it another scale", 1),
        ("i.csv", ["row,rating", "1,90", "2"], "'' is no rating", 1),
        ("j.csv", [""], "cannot be read as a table", 1),
        ("g.jsonl", ["{"], "cannot be read as a table", 1),
    ):
        done = gradus(home, "rate", run, "--file", str(write(tmp_path / name, *lines)))
        [line] = done.stderr.splitlines()
        assert said in line
        assert done.exit_code == code
    assert "there is no such file" in gradus(home, "rate", run, "--file", str(tmp_path / "none.csv")).stderr
    assert "nobody has rated" in gradus(home, "judge", run, "--ratings").stderr
    assert traces(home, run) == {}


@pytest.mark.ci
def test_rows_may_come_from_a_table_of_their_own_type(home: Path, make: Make, tmp_path: Path) -> None:
    run = make(23)
    pd.DataFrame({"row": [1, 2], "rating": [80.0, 5.0]}).to_parquet(tmp_path / "r.parquet")
    done = json.loads(gradus(home, "rate", run, "--file", str(tmp_path / "r.parquet"), "--by", "dora", "--json").stdout)
    assert (done["ratings"], done["people"]) == (2, 1)


@pytest.mark.ci
def test_the_last_rating_that_a_person_gives_of_a_response_counts_alone(home: Path, make: Make, tmp_path: Path) -> None:
    run = make(25)
    file = write(tmp_path / "r.csv", "row,rating,rater,comment", "1,90,anna,good", "1,50,ben,", "1,10,anna,bad")
    found = json.loads(gradus(home, "rate", run, "--file", str(file), "--json").stdout)
    assert (found["changed"], found["ratings"]) == (2, 2)
    given = {(each.by, each.value, each.comment) for each in read_ratings(run, home)}
    assert given == {("anna", 10, "bad"), ("ben", 50, "")}


@pytest.mark.ci
@pytest.mark.parametrize("rating", [90, 10])
def test_ratings_that_were_kept_twice_become_one(home: Path, make: Make, tmp_path: Path, rating: int) -> None:
    run, file = make(26), write(tmp_path / "r.csv", "row,rating,rater", "1,90,anna")
    assert gradus(home, "rate", run, "--file", str(file)).exit_code == 0
    twin = Feedback(name="rating", value=50, source=AssessmentSource("HUMAN", "anna"))
    TracingClient(f"sqlite:///{home}/mlflow.db").log_assessment(trace_id(run, 1), twin)
    write(file, "row,rating,rater", f"1,{rating},anna")
    found = json.loads(gradus(home, "rate", run, "--file", str(file), "--json").stdout)
    assert (found["changed"], [each.value for each in read_ratings(run, home)]) == (1, [rating])


@pytest.mark.ci
@pytest.mark.parametrize("suffix", ["json", "jsonl", "parquet"])
def test_where_a_file_names_no_rater_the_rating_is_that_of_who_brings_it(
    home: Path, make: Make, tmp_path: Path, suffix: str
) -> None:
    run, file = make(24), tmp_path / f"r.{suffix}"
    table = pd.DataFrame({"row": [1, 2], "rating": [80, 5], "rater": ["anna", None], "comment": [None, "short"]})
    if suffix == "parquet":
        table.to_parquet(file)
    else:
        table.to_json(file, orient="records", lines=suffix == "jsonl")
    assert gradus(home, "rate", run, "--file", str(file), "--by", "dora").exit_code == 0
    given = [trace.info.assessments[0] for _, trace in sorted(traces(home, run).items())]  # type: ignore[attr-defined]
    assert [(each.source.source_id, each.rationale) for each in given] == [("anna", None), ("dora", "short")]


@pytest.mark.ci
def test_ratings_and_comparisons_on_a_server(
    mlflow_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    home = tmp_path / "home"
    one, other = (answered_run(home, tmp_path / str(wrong), wrong) for wrong in (40, 20))
    file = write(tmp_path / "r.csv", "row,rating", *(f"{row},{row}" for row in range(21, 31)))
    for run in (one, other):
        assert json.loads(gradus(home, "rate", run, "--file", str(file), "--json").stdout)["rated"] == 10
    found = json.loads(gradus(home, "compare", one, other, "--json").stdout)
    assert found["people"]["rows"] == 10
    listed = MlflowClient(mlflow_server).list_artifacts(one, f"comparisons/{one[:8]}-{other[:8]}")
    assert len(listed) == 3


def test_who_rates_a_conversation_sees_the_turns_before() -> None:
    turns = [{"role": "user", "content": "Capital of France?"}, {"role": "assistant", "content": "Paris"}]
    row = {"row": 3, "instruction": "And of Spain?", "input": "", "response": "Madrid", "history": json.dumps(turns)}
    asked = response_of(row).asked
    assert list(asked) == ["history", "instruction"]
    assert "user: Capital of France?" in asked["history"]
    assert "assistant: Paris" in asked["history"]
    assert response_of(row | {"history": float("nan")}).asked == {"instruction": "And of Spain?"}
