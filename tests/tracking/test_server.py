"""The same through a real MLflow server that keeps the artifacts, as a team has it."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from components.serving.load import load_model
from components.tracking.config import TrackingConfig
from components.tracking.packaging import log_classifier
from components.tracking.registry import download_model_folder, find_version, open_client, resolve_model, version_source
from components.tracking.runs import open_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start `mlflow server` on a free port, with its own database and artifact folder."""
    folder = tmp_path_factory.mktemp("server")
    port = free_port()
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", str(folder / "artifacts")),
    ]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "log").open("w") as log:
        # A session of its own: the server starts workers, and all of them must end with it.
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder, start_new_session=True)
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process, folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, 15)
        process.wait()


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    while True:
        assert process.poll() is None, log.read_text()
        try:
            if requests.get(url, timeout=60).ok:
                return
        except (requests.ConnectionError, requests.Timeout):  # not there yet, or busy with coming up
            time.sleep(0.3)


def test_a_run_and_its_model_live_on_the_server(
    server: str,
    saved_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    home = tmp_path / "home"
    with open_run(TrackingConfig(), home, "remote", {"train": {"epochs": 1}}) as run:
        run.metrics({"loss": 1.0}, 1)
        logged = log_classifier(run, saved_model, ["a"], "remote", tags={"digest": "1"})
    assert not home.exists(), "nothing is written at home"
    assert run.client.get_run(run.run_id).info.status == "FINISHED"
    assert run.on_server
    assert run.url.startswith(f"{server}/#/experiments/{run.experiment_id}/runs/{run.run_id}?")
    assert capsys.readouterr().out == ""

    version = find_version(open_client(home), "remote", {"digest": "1"})
    assert version is not None
    assert version_source(version) == logged.uri
    expected = load_model(saved_model).predict(["a"])
    for name in (run.run_id, "models:/remote@candidate"):
        assert load_model(resolve_model(name, home), server).predict(["a"]).equals(expected)
    copy = download_model_folder("models:/remote/1", home, tmp_path / "copy")
    assert load_model(copy).predict(["a"]).equals(expected)
