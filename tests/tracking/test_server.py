"""The same through a real MLflow server that keeps the artifacts, as a team has it."""

from pathlib import Path

import pytest

from components.serving.load import load_model
from components.tracking.config import TrackingConfig
from components.tracking.registry.finding import (
    download_model_folder,
    find_version,
    open_client,
    resolve_model,
    version_source,
)
from components.tracking.registry.packages import classifier_package
from components.tracking.registry.publishing import log_package
from components.tracking.runs import open_run

pytestmark = [pytest.mark.slow, pytest.mark.ci]


def test_a_run_and_its_model_live_on_the_server(
    mlflow_server: str,
    saved_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    home = tmp_path / "home"
    with open_run(TrackingConfig(), home, "remote", {"train": {"epochs": 1}}) as run:
        run.metrics({"loss": 1.0}, 1)
        logged = log_package(run, classifier_package(saved_model, ["a"]), "remote", tags={"digest": "1"})
    assert {path.name for path in home.iterdir()} == {".runs.lock"}, "no more is left at home"
    assert run.client.get_run(run.run_id).info.status == "FINISHED"
    assert run.on_server
    assert run.url.startswith(f"{mlflow_server}/#/experiments/{run.experiment_id}/runs/{run.run_id}?")
    assert capsys.readouterr().out == ""

    version = find_version(open_client(home), "remote", {"digest": "1"})
    assert version is not None
    assert version_source(version) == logged["model_uri"]
    expected = load_model(saved_model).predict(["a"])
    for name in (run.run_id, "models:/remote@candidate"):
        assert load_model(resolve_model(name, home), mlflow_server).predict(["a"]).equals(expected)
    copy = download_model_folder("models:/remote/1", home, tmp_path / "copy")
    assert load_model(copy).predict(["a"]).equals(expected)
