"""MLflow's server is away while `gradus run` is at work, for a minute or for good: the run ends well either way."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.patience import PATIENCE
from tests.pipelines.faults.runs import NAME, at_work, go_on, gradus, lines_of, write_preset
from tests.tracking.mlflow_server import MlflowServer

AWAY = 60
"""Seconds."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MlflowServer]:
    """A server of the test's own, which does not run yet."""
    (tmp_path / "server").mkdir()
    server = MlflowServer(tmp_path / "server")
    yield server
    server.stop()


def check(uri: str) -> None:
    """Find one run that has ended well, with its curve, its metrics and its registered model."""
    client = MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name(NAME).experiment_id])
    assert run.info.status == "FINISHED"
    assert [point.step for point in client.get_metric_history(run.info.run_id, "curve/batch_loss")] == [1, 2, 3, 4]
    assert "test/accuracy" in run.data.metrics
    (version,) = client.search_model_versions(f"name='{NAME}'")
    assert client.get_model_version_by_alias(NAME, "candidate").version == version.version


@pytest.mark.slow
def test_a_run_whose_first_minute_mlflow_is_away_ends_with_all_of_it_sent(
    server: MlflowServer, tmp_path: Path, environment: dict[str, str]
) -> None:
    preset = write_preset("classification", tmp_path / "data")
    environment = environment | {"MLFLOW_TRACKING_URI": server.uri}
    begun = time.monotonic()
    with at_work("evaluate", "run", preset, "--json", environment=environment, folder=tmp_path) as process:
        time.sleep(max(AWAY - (time.monotonic() - begun), 0))
        server.start()
        go_on(tmp_path)
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert lines_of(err) == []
    assert f"MLflow at {server.uri} does not answer (Connection refused)" in err
    assert f"MLflow at {server.uri} answers again" in err
    assert json.loads(out)["waits_for_sync"] is False
    check(server.uri)


@pytest.mark.slow
def test_a_run_that_mlflow_leaves_for_good_ends_well_and_is_sent_later(
    server: MlflowServer, tmp_path: Path, environment: dict[str, str]
) -> None:
    preset = write_preset("classification", tmp_path / "data")
    environment = environment | {"MLFLOW_TRACKING_URI": server.uri}
    server.start()
    with at_work(
        "fine_tune", "run", preset, "--json", environment=environment, folder=tmp_path, moment="begun"
    ) as process:
        server.stop()
        go_on(tmp_path)
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert lines_of(err) == []
    assert "`gradus sync` sends the rest" in err
    assert json.loads(out)["waits_for_sync"] is True
    server.start()
    sent = gradus("sync", environment=environment)
    assert sent.returncode == 0, sent.stderr
    check(server.uri)
