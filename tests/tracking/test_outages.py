"""MLflow goes away, at any moment and in any way: nothing is lost, nothing doubled, and the run is what it would be."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient

from components.core.errors import TrackingError
from components.core.records import sha256_of
from components.serving.load import load_model
from components.tracking import stores
from components.tracking.config import TrackingConfig
from components.tracking.outbox.syncing import Sent, sync
from components.tracking.recording import log_inputs
from components.tracking.registry.finding import resolve_model
from components.tracking.registry.packages import classifier_package
from components.tracking.registry.publishing import log_package
from components.tracking.runs import Run, attached, open_run
from components.tracking.stores import connect, root_of
from pipelines.cli.console import noted
from tests import patience
from tests.patience import PATIENCE
from tests.tracking.mlflow_server import MlflowServer

ROOT = Path(__file__).parents[2]
MOMENTS = ("opening", "training", "flushing", "registering", "ending")
PARAMS = {"train": {"epochs": 2, "learning_rate": 1e-4}}
STEPS = 700
OWN = (
    *("gradus.key", "gradus.outbox", "gradus.process", "gradus.run_id", "gradus.model_id", "mlflow.modelVersions"),
    *("gradus.git.dirty", "mlflow.source.git.commit"),  # somebody may be at work here
    "gradus.registered_at",
    "gradus.hashes",  # of files that name the run and where it was packaged
)
"""Tags that differ from run to run."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path_factory.mktemp("server"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def server(running: MlflowServer, monkeypatch: pytest.MonkeyPatch, patient_tracking: None) -> MlflowServer:
    """A server that runs, whatever the test before did to it, and that runs are sent to."""
    if not running.runs:
        running.start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", running.uri)
    return running


def no_outage(_moment: str) -> None:
    """Let the server be."""


def at(moment: str, action: Callable[[], None]) -> Callable[[str], None]:
    return lambda now: action() if now == moment else None


def work(home: Path, model: Path, name: str, happen: Callable[[str], None] = no_outage) -> Run:
    """Do what a pipeline's run does with MLflow, and let something happen at each of `MOMENTS`."""
    data = home / "train.parquet"
    home.mkdir(exist_ok=True)
    pd.DataFrame({"text": ["a", "b"], "label": ["ham", "spam"]}).to_parquet(data)
    happen("opening")
    with open_run(TrackingConfig(experiment=name, system_metrics=False), home, name, PARAMS) as run:
        log_inputs(run, {"train": data}, {"train": sha256_of(data)}, "sample://x", name)
        run.log_file(data, "validation")
        for step in range(STEPS):
            if step == STEPS // 2:
                happen("training")
            run.metrics({"curve/loss": 1 / (step + 1), "curve/rate": 0.5}, step)
        happen("flushing")
        run.metrics({"train/accuracy": 0.75, "train/nothing": float("nan")}, STEPS)
        run.flush()
        with tempfile.TemporaryDirectory() as folder:
            card = Path(folder) / "model_card.md"
            card.write_text(f"made by run {run.run_id}")
            run.log_file(card)
        run.log_table(pd.DataFrame({"text": ["ü"], "p": [0.5]}), "table.json")
        happen("registering")
        log_package(
            run, classifier_package(model, ["a"]), name, "**75 %** right", {"gradus.model_digest": f"of {name}"}
        )
        run.set_tags({"gradus.verdict": "good", "mlflow.note.content": f"Run {run.run_id}"})
        happen("ending")
    return run


def only_run(uri: str, experiment: str) -> str:
    client = MlflowClient(uri)
    (found,) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return str(found.info.run_id)


def left(uri: str, name: str) -> dict[str, Any]:
    """Return everything that MLflow has of the one run of an experiment, without what differs from run to run."""
    client = MlflowClient(uri)
    run_id = only_run(uri, name)
    run = client.get_run(run_id)
    (output,) = run.outputs.model_outputs
    (model,) = client.search_logged_models([run.info.experiment_id])
    assert output.model_id == model.model_id
    (version,) = client.search_model_versions(f"name = '{name}'")
    version = client.get_model_version(name, version.version)  # with its aliases
    points = {key: client.get_metric_history(run_id, key) for key in run.data.metrics}
    stamps = [point.timestamp for history in points.values() for point in history]
    assert run.info.start_time <= min(stamps) <= max(stamps) <= run.info.end_time
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        assert len(load_model(resolve_model(f"models:/{name}@candidate", Path()), uri).predict(["a"])) == 1

    def neutral(value: object) -> str:
        return str(value).replace(run_id, "RUN").replace(model.model_id, "MODEL").replace(name, "NAME")

    return {
        "status": run.info.status,
        "name": neutral(run.info.run_name),
        "params": run.data.params,
        "tags": {key: neutral(value) for key, value in run.data.tags.items() if key not in OWN},
        "points": {key: [(each.step, repr(each.value)) for each in history] for key, history in points.items()},
        "files": {path: neutral(text) for path, text in files(client, run_id).items()},
        "inputs": [neutral([read.dataset, read.tags]) for read in run.inputs.dataset_inputs],
        "model": [str(model.status), model.params, neutral(model.name), model.source_run_id == run_id],
        "model tags": {key: neutral(value) for key, value in model.tags.items() if key not in OWN},
        "model metrics": sorted((each.key, each.step, each.dataset_digest) for each in model.metrics),
        "version": [version.version, neutral(version.description), version.aliases, version.run_id == run_id],
        "version tags": {key: neutral(value) for key, value in version.tags.items() if key not in OWN},
    }


def files(client: MlflowClient, run_id: str, folder: str = "") -> dict[str, str]:
    found = {}
    for entry in client.list_artifacts(run_id, folder):
        if entry.is_dir:
            found |= files(client, run_id, entry.path)
        else:
            found[entry.path] = Path(client.download_artifacts(run_id, entry.path)).read_bytes().decode("latin-1")
    return found


@pytest.fixture(scope="module")
def expected(running: MlflowServer, saved_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run leaves when nothing happens."""
    home = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", running.uri)
        patch.setattr(stores, "QUICK", PATIENCE)
        patch.setattr(stores, "REACH_TIMEOUT", PATIENCE)
        assert not work(home, saved_model, "undisturbed").waits
    assert not (home / "outbox").exists()
    return left(running.uri, "undisturbed")


def synced(home: Path) -> list[str]:
    return [sent.error for sent in sync(home)]


@pytest.mark.ci
def test_a_server_that_never_answers_costs_nothing_but_a_sync(
    expected: dict[str, Any], server: MlflowServer, saved_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.stop()
    run = work(tmp_path, saved_model, "never")
    assert run.waits
    assert run.model_uri is None
    assert run.run_id == run.key, "it has no other name yet"
    assert f"MLflow at {server.uri} does not answer (Connection refused)" in caplog.messages[0]
    assert "`gradus sync` sends the rest" in caplog.messages[-1]
    assert len(caplog.messages) == 2
    with pytest.raises(TrackingError, match="cannot open the MLflow store"):
        synced(tmp_path)
    server.start()
    assert synced(tmp_path) == [""]
    assert left(server.uri, "never") == expected
    assert not (tmp_path / "outbox").exists()
    assert synced(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS[1:])
def test_a_server_that_goes_away_for_good(
    moment: str, expected: dict[str, Any], server: MlflowServer, saved_model: Path, tmp_path: Path
) -> None:
    assert work(tmp_path, saved_model, f"gone {moment}", at(moment, server.stop)).waits
    server.start()
    config = TrackingConfig(experiment=f"gone {moment}", system_metrics=False)
    with open_run(config, tmp_path / "b", "other", {}) as run:
        assert MlflowClient(server.uri).get_run(run.run_id).info.status == "RUNNING"
    MlflowClient(server.uri).delete_run(run.run_id)
    assert synced(tmp_path) == [""], "the other run has not closed this one as dead"
    assert left(server.uri, f"gone {moment}") == expected


@pytest.mark.slow
def test_a_server_that_is_back_in_time_has_all_of_it(
    expected: dict[str, Any], server: MlflowServer, saved_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def happen(moment: str) -> None:
        {"opening": server.stop, "training": server.start}.get(moment, lambda: None)()

    run = work(tmp_path, saved_model, "back", happen)
    assert not run.waits
    assert run.model_uri == "models:/back/1"
    assert f"MLflow at {server.uri} answers again" in caplog.text
    assert left(server.uri, "back") == expected


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_server_that_hangs(
    moment: str,
    expected: dict[str, Any],
    server: MlflowServer,
    saved_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stores, "QUICK", 5.0)
    monkeypatch.setattr(stores, "REACH_TIMEOUT", 5.0)
    start = time.monotonic()
    try:
        assert work(tmp_path, saved_model, f"hung {moment}", at(moment, server.freeze)).waits
        assert time.monotonic() - start < 600
    finally:
        server.thaw()
    while any(sent.by_itself or sent.error for sent in sync(tmp_path)):  # the thread that hung has to end first
        time.sleep(0.5)
    assert left(server.uri, f"hung {moment}") == expected


def register_as(name: str, home: Path, digest: str, model: Path) -> Run:
    with open_run(TrackingConfig(system_metrics=False), home, digest, {}) as run:
        log_package(run, classifier_package(model, ["a"]), name, tags={"gradus.model_digest": digest})
    return run


@pytest.mark.slow
def test_of_two_that_come_late_the_later_is_the_candidate(
    server: MlflowServer, saved_model: Path, tmp_path: Path
) -> None:
    server.stop()
    for digest in "12":
        register_as("two", tmp_path, digest, saved_model)
    server.start()
    assert synced(tmp_path) == ["", ""]
    found = MlflowClient(server.uri).get_model_version_by_alias("two", "candidate")
    assert found.tags["gradus.model_digest"] == "2"


@pytest.mark.slow
def test_what_comes_late_takes_the_candidate_from_nobody_who_came_meanwhile(
    server: MlflowServer, saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def register(home: Path, digest: str) -> Run:
        return register_as("late", home, digest, saved_model)

    def candidate() -> str | None:
        return MlflowClient(server.uri).get_model_version_by_alias("late", "candidate").run_id

    server.stop()
    first, second = register(tmp_path / "a", "1"), register(tmp_path / "a", "2")
    server.start()
    other = register(tmp_path / "b", "3")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    with pytest.raises(TrackingError, match="cannot open the MLflow store"):
        synced(tmp_path / "a")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert all(f"it belongs to {server.uri}" in error for error in synced(tmp_path / "a"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    assert synced(tmp_path / "a") == ["", ""]
    assert candidate() == other.run_id
    assert len(MlflowClient(server.uri).search_model_versions("name = 'late'")) == 3
    found = [resolve_model(run.key, tmp_path) for run in (first, second)]
    assert len(set(found)) == 2, "the names that the runs had meanwhile lead to them"


def test_runs_that_note_the_same_new_data_at_once_all_do(tmp_path: Path) -> None:
    data = tmp_path / "train.parquet"
    pd.DataFrame({"text": ["a"]}).to_parquet(data)
    connect(tmp_path, "together")
    together = threading.Barrier(4)

    def note_data() -> None:
        with open_run(TrackingConfig(experiment="together", system_metrics=False), tmp_path, "run", {}) as run:
            for number in range(10):
                together.wait()
                log_inputs(run, {"train": data}, {"train": f"{number:08d}"}, "sample://x", "data")
        noted.append(len(run.client.get_run(run.run_id).inputs.dataset_inputs))

    noted: list[int] = []
    threads = [threading.Thread(target=note_data) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert noted == [10] * 4


def test_the_root_of_errors_that_go_round_in_a_circle_is_found() -> None:
    first, second = OSError("first"), OSError("second")
    first.__context__, second.__context__ = second, first
    assert root_of(first) == "second"
    assert noted(first, "run_id") is None


class Unavailable(BaseHTTPRequestHandler):
    status = 503

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.end_headers()

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Be silent."""


@pytest.mark.slow
def test_a_server_that_answers_503(
    expected: dict[str, Any], server: MlflowServer, saved_model: Path, tmp_path: Path
) -> None:
    server.stop()
    with ThreadingHTTPServer(("127.0.0.1", server.port), Unavailable) as gateway:
        threading.Thread(target=gateway.serve_forever, daemon=True).start()
        assert work(tmp_path, saved_model, "503").waits
        gateway.shutdown()
    server.start()
    assert synced(tmp_path) == [""]
    assert left(server.uri, "503") == expected


@pytest.mark.one_case
@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_server_that_refuses_is_an_error_at_once(
    status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = type("Refusing", (Unavailable,), {"status": status})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as refusing:
        threading.Thread(target=refusing.serve_forever, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{refusing.server_port}")
        with pytest.raises(TrackingError, match=str(status)), open_run(TrackingConfig(), tmp_path, "refused", {}):
            pytest.fail("the block must not run")
        refusing.shutdown()
    assert not (tmp_path / "outbox").exists()


SYNC = """
import sys
import tempfile
from pathlib import Path
from components.tracking.outbox.syncing import sync
print([sent.error for sent in sync(Path(sys.argv[1]))])
"""


def start_sync(home: Path) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", SYNC, str(home)], env=environment, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_sync_may_be_killed_at_any_moment_and_two_may_run_at_once(
    expected: dict[str, Any], server: MlflowServer, saved_model: Path, tmp_path: Path
) -> None:
    server.stop()
    work(tmp_path, saved_model, "killed")
    server.start()
    (outbox,) = (tmp_path / "outbox").iterdir()
    chance = random.Random(5)

    def sent() -> str:
        try:
            return (outbox / "state.json").read_text()
        except FileNotFoundError:  # all of it, and faster than this looks
            return ""

    for _ in range(12):
        before = sent()
        with start_sync(tmp_path) as process:
            while process.poll() is None and sent() == before:
                time.sleep(0.01)
            time.sleep(chance.random() * 0.3)
            process.send_signal(signal.SIGKILL)
        if not outbox.exists():
            break
    with start_sync(tmp_path) as one, start_sync(tmp_path) as other:
        said = [process.communicate()[0].strip() for process in (one, other)]
    assert set(said) <= {"['']", "[]"}
    assert synced(tmp_path) == []
    assert left(server.uri, "killed") == expected


@pytest.mark.slow
def test_a_run_whose_process_is_killed_while_the_server_is_away_is_sent_as_killed(
    server: MlflowServer, tmp_path: Path
) -> None:
    script = (
        "import sys, time; from pathlib import Path; from components.tracking.config import TrackingConfig as T\n"
        "from components.tracking.runs import open_run\n"
        "with open_run(T(experiment='dead', system_metrics=False), Path(sys.argv[1]), 'dead', {'a': 1}) as run:\n"
        "    run.metrics({'loss': 1.0}, 1); print('here', flush=True); time.sleep(600)"
    )
    server.stop()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "here\n"
        assert synced_while_away(tmp_path) == []
        process.kill()
    server.start()
    assert synced(tmp_path) == [""]
    run = MlflowClient(server.uri).get_run(only_run(server.uri, "dead"))
    assert (run.info.status, run.data.metrics, run.data.params) == ("KILLED", {"loss": 1.0}, {"a": "1"})
    assert "ended without closing" in run.data.tags["gradus.error"]


def synced_while_away(home: Path) -> list[Sent]:
    with pytest.raises(TrackingError):
        list(sync(home))
    return []


@pytest.mark.slow
def test_a_locked_database_is_waited_for_beside_the_run(
    saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "LOCKED", 5.0)  # as it is without the tests
    connect(tmp_path, "locked")  # makes the tables
    with sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        run = work(tmp_path, saved_model, "locked")
        other.execute("ROLLBACK")
    assert run.waits
    while (sent := next(sync(tmp_path))).by_itself:  # the run's own thread is at it still
        time.sleep(0.1)
    assert sent.error == ""
    found = left(f"sqlite:///{tmp_path}/mlflow.db", "locked")
    assert len(found["points"]["curve/loss"]) == STEPS
    with attached(only_run(f"sqlite:///{tmp_path}/mlflow.db", "locked"), tmp_path) as again:
        again.set_tags({"later": "yes"})
    assert again.client.get_run(again.run_id).data.tags["later"] == "yes"
