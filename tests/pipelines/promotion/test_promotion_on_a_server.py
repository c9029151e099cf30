"""Comparing and promoting where a team does: on an MLflow server that keeps runs, artifacts and the registry."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from components.core.errors import PromotionRefused
from components.tracking.registry.packages import classifier_package
from components.tracking.registry.publishing import log_package
from components.tracking.runs import open_run
from pipelines.promoting.promote import promote
from tests.pipelines.commands import compare_runs
from tests.pipelines.labelled_runs import QUIET, ROWS, predictions

pytestmark = [pytest.mark.slow, pytest.mark.ci]


def test_a_better_model_takes_the_place_and_a_worse_one_does_not(
    mlflow_server: str, saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    home = tmp_path / "home"
    runs = []
    for wrong in (10, 1, 30):
        with open_run(QUIET, home, "made", {"wrong": str(wrong)}) as run:
            run.log_file(predictions(tmp_path, wrong, 0, ("learned",)))
            log_package(run, classifier_package(saved_model, ["a"]), "shared")
        runs.append(run.run_id)
    found = compare_runs(runs[0][:10], "models:/shared/2", home)
    assert found.test is not None
    assert (found.test.rows, found.test.better, found.parameters) == (ROWS, "second", {"wrong": ("10", "1")})

    assert promote(runs[0], home).changed
    assert promote(runs[1][:8], home).champion_before == "1"
    with pytest.raises(PromotionRefused, match="it is not shown to be less than 1 point worse"):
        promote("models:/shared@candidate", home)
    client = MlflowClient(mlflow_server)
    assert client.get_model_version_by_alias("shared", "champion").version == "2"
    assert client.get_model_version("shared", "2").tags["gradus.promoted_over"] == "1"
    assert client.get_run(runs[1]).data.tags["gradus.promoted_as"] == "models:/shared/2"
    assert promote("models:/shared@previous_champion", home, force=True, reason="back").version == "1"
    assert {path.name for path in home.iterdir()} == {".runs.lock"}, "nothing else is written at home"
