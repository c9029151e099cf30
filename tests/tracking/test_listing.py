"""Runs and models are listed with what belongs to them, however many there are."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from components.core.errors import TrackingError
from components.tracking.listing import AT_ONCE, list_models, list_runs, listed_run, listed_runs
from components.tracking.stores import connect


@pytest.fixture
def client(tmp_path: Path) -> MlflowClient:
    return connect(tmp_path, "listed")[0]


def make_runs(home: Path, count: int) -> list[str]:
    client, experiment = connect(home, "listed")
    return [client.create_run(experiment, run_name=f"run {number}").info.run_id for number in range(count)]


@pytest.mark.ci
def test_runs_know_the_newest_version_that_they_made_and_its_aliases(tmp_path: Path, client: MlflowClient) -> None:
    first, second, third = make_runs(tmp_path, 3)
    client.create_registered_model("it's")
    for run_id in (first, first, second):
        client.create_model_version("it's", "file:///nowhere", run_id)
    client.set_registered_model_alias("it's", "champion", "2")
    client.set_registered_model_alias("it's", "best", "2")
    made = {run.run_id: run.model for run in list_runs(tmp_path, {}, None, 10)}
    assert made == {first: "it's/2 @best @champion", second: "it's/3", third: None}
    assert listed_run(first, tmp_path).model == made[first]
    [model] = list_models(tmp_path, "it's")
    assert [(each.version, each.aliases) for each in model.versions] == [
        ("3", []),
        ("2", ["best", "champion"]),
        ("1", []),
    ]


@pytest.mark.ci
def test_many_are_looked_up_and_deleted_ones_too(tmp_path: Path, client: MlflowClient) -> None:
    run_ids = make_runs(tmp_path, AT_ONCE + 2)
    client.delete_run(run_ids[0])
    found = listed_runs([*run_ids, run_ids[1], "", "0" * 32], tmp_path)
    assert {run_id: run.name for run_id, run in found.items()} == {
        run_id: f"run {number}" for number, run_id in enumerate(run_ids)
    }
    assert listed_runs([], tmp_path) == {}


def test_what_is_not_there_is_said(tmp_path: Path, client: MlflowClient) -> None:
    with pytest.raises(TrackingError, match="there is none yet"):
        list_models(tmp_path, "nobody")
    with pytest.raises(TrackingError, match="cannot look up the run"):
        listed_run("0" * 32, tmp_path)
