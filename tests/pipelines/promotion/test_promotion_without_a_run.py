"""Promoting where no run, or none that is left, made the present champion."""

from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from components.core.errors import PromotionRefused
from components.tracking.runs import open_run
from pipelines.promoting.promote import promote
from tests.pipelines.commands import gradus
from tests.pipelines.labelled_runs import QUIET, aliases
from tests.ports import free_port

Make = Callable[..., str]


def yields_to_force_alone(home: Path, make: Make, name: str, why: str) -> None:
    """Check that version 1 of a registered model, the champion, is replaced by force and not otherwise."""
    better = make(0)
    with pytest.raises(PromotionRefused, match=f"cannot be compared with the champion, version 1: {why}.*--force"):
        promote(better, home)
    assert aliases(home, name) == {"champion": "1"}
    done = promote(better, home, force=True, reason="there is nothing to compare with")
    assert (done.version, done.champion_before) == ("2", "1")
    assert aliases(home, name) == {"champion": "2", "previous_champion": "1"}


def test_a_champion_registered_by_hand_yields_to_force(home: Path, make: Make, saved_model: Path, name: str) -> None:
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    client.create_registered_model(name)
    client.create_model_version(name, str(saved_model))  # as MLflow's UI does
    client.set_registered_model_alias(name, "champion", "1")
    yields_to_force_alone(home, make, name, "no run made that version")


@pytest.mark.ci
def test_a_champion_whose_run_was_purged_yields_to_force(home: Path, make: Make, name: str) -> None:
    promote(gone := make(10), home)
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    client.delete_run(gone)
    client._tracking_client.store._hard_delete_run(gone)  # as `mlflow gc` does
    yields_to_force_alone(home, make, name, f"the run that made it, {gone[:8]}, cannot be found")


@pytest.mark.ci
def test_what_cannot_be_promoted_is_one_line(home: Path, make: Make, name: str, tmp_path: Path) -> None:
    with open_run(QUIET, home, "without a model", {}) as bare:
        pass
    promote(make(30), home)
    lines = {
        bare.run_id: f"run {bare.run_id} has no registered model; set tracking.model_name and run it again",
        "deadbeef": "no run begins with deadbeef; ",
        "models:/nobody@candidate": "there is no registered model models:/nobody@candidate; ",
        make(0, pipeline="instruction"): "it cannot be compared with the champion, version 1: run ",
        make(0, pipeline="nonsense"): "is of the pipeline nonsense, which is not known here",
    }
    for address, line in lines.items():
        done = gradus("promote", address, GRADUS_HOME=str(home))
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
        assert line in done.stderr
    assert aliases(home, name) == {"champion": "1"}


def test_a_registry_that_cannot_be_reached_is_one_line(tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    for words in (("promote", "models:/a@candidate"), ("rollback", "a"), ("history", "a")):
        done = gradus(*words, GRADUS_HOME=str(tmp_path), MLFLOW_TRACKING_URI=nobody)
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
        assert f"cannot open the MLflow store {nobody}" in done.stderr
