"""Several runs beside a baseline: printed, as JSON, as a page, and as artifacts of the runs."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pandas as pd
import pytest
from mlflow import MlflowClient

from components.core.errors import ConfigError
from components.tracking.runs import open_run
from pipelines.comparison import compare_all
from tests.pipelines import commands
from tests.pipelines.answered_runs import answered_run
from tests.pipelines.labelled_runs import QUIET, predictions
from tests.reporting.reports import Page, stands_alone

Make = Callable[..., str]


def gradus(home: Path, *arguments: str | Path) -> CompletedProcess[str]:
    return commands.gradus(*arguments, GRADUS_HOME=str(home), COLUMNS="150")


@pytest.fixture
def make(home: Path, tmp_path: Path) -> Make:
    """A function that makes a finished run that errs on its first `wrong` test rows and has curves."""
    numbers = itertools.count()

    def made(wrong: int, start: int = 0, **params: str) -> str:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        with open_run(QUIET, home, "made", params) as run:
            for step in (0, 10, 20):
                run.metrics({"curve/train_loss": 1 / (1 + step), "curve/validation_loss": 1.2 / (1 + step)}, step)
            run.log_file(predictions(folder, wrong, start, ("learned",)))
        return run.run_id

    return made


def artifacts(home: Path, run_id: str, folder: str) -> list[str]:
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    return sorted(Path(file.path).name for file in client.list_artifacts(run_id, folder))


def test_each_run_is_compared_with_the_baseline_and_all_is_logged(home: Path, make: Make, tmp_path: Path) -> None:
    base, better, alike = make(30, epochs="3"), make(5, epochs="4"), make(29, epochs="5")
    page = tmp_path / "comparison.html"
    done = gradus(home, "compare", better, base, alike[:10], "--baseline", base[:12], "--html", page, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [side["run_id"] for side in found["runs"]] == [base, better, alike]
    assert found["parameters"] == {"epochs": ["3", "4", "5"]}
    assert [each["test"]["better"] for each in found["comparisons"]] == ["second", None]
    raw = [each["test"]["p_value"] for each in found["comparisons"]]
    adjusted = [each["adjusted_p_value"] for each in found["comparisons"]]
    assert adjusted == pytest.approx([2 * raw[0], raw[1]])

    details = found["comparisons"][0]["details"]
    assert {each["name"]: each["rows"] for each in details["by_group"]} == {"ham": 100, "spam": 100}
    assert sum(each["rows"] for each in details["by_length"]) == 200
    assert details["disagreements"] == 25
    assert details["examples"][0]["first_value"] == 0
    assert details["examples"][0]["second_value"] == 1

    stands_alone(page.read_text(), images=1)
    text = Page(page.read_text()).text
    for shown in (
        "epochs",
        "Rows on which they disagree",
        found["comparisons"][0]["sentence"],
        details["examples"][0]["text"],
    ):
        assert shown in text
    folder = f"comparisons/{base[:8]}-{better[:8]}-{alike[:8]}"
    for run_id in (base, better, alike):
        assert artifacts(home, run_id, folder) == ["comparison.html", "comparison.json", "disagreements.parquet"]
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    path = client.download_artifacts(base, f"{folder}/disagreements.parquet", str(tmp_path))
    assert pd.read_parquet(path).groupby("run").size().to_dict() == {better: 25, alike: 1}

    printed = gradus(home, "compare", base, better, alike, "--no-log")
    assert printed.returncode == 0, printed.stderr
    for shown in ("p (Holm)", "accuracy by label", "accuracy by characters", "25 rows on which they disagree"):
        assert shown in printed.stdout


@pytest.mark.ci
def test_two_runs_are_logged_and_nothing_is_with_no_log(home: Path, make: Make) -> None:
    one, other = make(3), make(4)
    assert gradus(home, "compare", one, other, "--no-log").returncode == 0
    assert artifacts(home, one, "comparisons") == []
    assert gradus(home, "compare", one, other).returncode == 0
    assert artifacts(home, other, "comparisons") == [f"{one[:8]}-{other[:8]}"]


def test_one_that_shares_no_rows_is_refused_and_the_others_are_compared(home: Path, make: Make) -> None:
    base, other, stranger = make(3), make(8), make(3, start=500)
    done = gradus(home, "compare", base, other, stranger, "--json")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "gradus: not compared: of 200 and 200 test rows none is the same; run both on the same source and split"
    ]
    found = json.loads(done.stdout)["comparisons"]
    assert (found[0]["test"]["rows"], found[1]["test"]) == (200, None)


def test_wrong_use_is_said_in_a_line(home: Path, make: Make, tmp_path: Path) -> None:
    one, other = make(3), make(4)
    for arguments, said in (
        ([one], "give two runs or more"),
        ([one, other, one], f"run {one[:8]} is given twice"),
        ([one, other, "--primary", "beauty"], "there is no such metric"),
        ([one, other, "--html", tmp_path], "this is a folder"),
        ([one, other, "--html", tmp_path / "none" / "x.html"], "there is no folder"),
    ):
        done = gradus(home, "compare", *arguments)
        [line] = done.stderr.splitlines()
        assert said in line
        assert done.returncode == 2
    assert artifacts(home, one, "comparisons") == []
    with pytest.raises(ConfigError, match="two runs or more"):
        compare_all([one], home)


@pytest.mark.ci
def test_responses_are_told_apart_by_task_and_length(home: Path, tmp_path: Path) -> None:
    one, other = (answered_run(home, tmp_path / str(wrong), wrong) for wrong in (40, 20))
    details = compare_all([one, other], home).comparisons[0].details
    assert details is not None
    assert (details.group, {each.name for each in details.by_group}) == ("task", {"plural", "antonym"})
    assert all(each.interval[0] <= each.difference <= each.interval[1] for each in details.by_length)
    assert details.disagreements == 20
    assert "Say the number" in details.examples[0].text
