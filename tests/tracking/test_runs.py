import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas as pd
import pytest
import yaml

from components.core.errors import DataRejected, TrackingError
from components.tracking.config import TrackingConfig
from components.tracking.monitoring import system_metrics
from components.tracking.outbox.syncing import sync
from components.tracking.provenance import code_tags, is_orphan, process_tags
from components.tracking.run import flatten, shorten
from components.tracking.runs import Run, describe_error, open_run, reconcile
from components.tracking.stores import connect, shown_store, tracking_uri, without_password

QUIET = TrackingConfig(system_metrics=False)
PARAMS = {
    "preset": "spam",
    "train": {"epochs": 5, "max_steps": None, "shuffle": True},
    "split": {"fractions": [0.7, 0.3]},
}
LINUX = sys.platform == "linux"
ROOT = Path(__file__).parents[2]


class TerminationSignal(BaseException):
    """Stands for Prefect's, which is no Exception either."""


@contextmanager
def opened(home: Path, config: TrackingConfig = QUIET) -> Iterator[Run]:
    with open_run(config, home, "a run", PARAMS, {"gradus.preset": "spam"}) as run:
        yield run


def stored(run: Run) -> object:
    return run.client.get_run(run.run_id)


def artifact(run: Run, name: str) -> Path:
    return Path(stored(run).info.artifact_uri) / name


@pytest.mark.ci
def test_a_run_that_ends_is_finished_and_holds_what_was_logged(home: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "note.txt").write_text("in a folder")
    with opened(home) as run:
        assert stored(run).info.status == "RUNNING"
        run.metrics({"loss": 0.5}, 10)
        run.set_tags({"verdict": "good"})
        (tmp_path / "a.txt").write_text("text")
        run.log_file(tmp_path / "a.txt")
        run.log_dict({"b": 1}, "b.json")
        run.log_table(pd.DataFrame({"text": ["ü"], "p": [0.5]}), "table.json")
        run.log_file(tmp_path / "folder", "kept")
    found = stored(run)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "a run"
    assert found.data.metrics == {"loss": 0.5}
    assert found.data.tags["verdict"] == "good"
    assert found.data.tags["gradus.preset"] == "spam"
    assert found.data.params["train.epochs"] == "5"
    assert found.data.params["train.max_steps"] == "null"
    assert found.data.params["split.fractions"] == "[0.7, 0.3]"
    assert yaml.safe_load(artifact(run, "config.yaml").read_text()) == PARAMS
    assert artifact(run, "a.txt").read_text() == "text"
    assert json.loads(artifact(run, "b.json").read_text()) == {"b": 1}
    assert json.loads(artifact(run, "table.json").read_text())["data"] == [["ü", 0.5]]
    assert artifact(run, "kept/note.txt").read_text() == "in a folder"


@pytest.mark.ci
def test_the_local_store_is_inside_home_and_no_run_stays_active(home: Path) -> None:
    import mlflow

    with opened(home) as run:
        assert mlflow.active_run() is None
    assert tracking_uri(home) == f"sqlite:///{home}/mlflow.db"
    assert (home / "mlflow.db").is_file()
    assert artifact(run, "config.yaml").is_relative_to(home / "artifacts")
    assert run.url.startswith("http://127.0.0.1:5000/#/experiments/")
    assert not run.on_server


@pytest.mark.ci
def test_a_failed_run_says_why_on_one_line(home: Path) -> None:
    with pytest.raises(ZeroDivisionError), opened(home) as run:  # noqa: PT012
        run.metrics({"loss": 1.0}, 1)
        raise ZeroDivisionError("no rows\nat all")
    found = stored(run)
    assert found.info.status == "FAILED"
    assert found.info.end_time is not None
    assert found.data.tags["gradus.error"] == "ZeroDivisionError: no rows at all"
    assert found.data.tags["mlflow.note.content"] == "Failed: ZeroDivisionError: no rows at all"
    assert found.data.metrics == {"loss": 1.0}, "what was kept back is written all the same"


def test_an_error_of_gradus_keeps_its_words() -> None:
    assert describe_error(DataRejected("label: 3 rows are null")) == "label: 3 rows are null"
    assert describe_error(KeyboardInterrupt()) == "KeyboardInterrupt"


@pytest.mark.ci
@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, TerminationSignal])
def test_an_interrupted_run_is_killed(home: Path, interruption: type[BaseException]) -> None:
    with pytest.raises(interruption), opened(home) as run:
        raise interruption
    assert stored(run).info.status == "KILLED"
    assert stored(run).data.tags["gradus.error"] == interruption.__name__


@pytest.mark.ci
def test_a_run_ends_after_its_beginning_though_the_clock_is_set_back(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time_ns
    with opened(home) as run:
        monkeypatch.setattr(time, "time_ns", lambda: now() - 3600 * 10**9)
    info = stored(run).info
    assert info.start_time <= info.end_time


def test_a_run_of_which_the_config_cannot_be_written_is_failed_too(home: Path) -> None:
    client, experiment_id = connect(home, "gradus")
    with pytest.raises(TypeError), open_run(QUIET, home, "bad", {"train": object()}, {}):  # type: ignore[dict-item]
        pytest.fail("the block must not run")
    assert client.search_runs([experiment_id], max_results=1)[0].info.status == "FAILED"


def test_an_error_is_not_hidden_by_one_of_the_store(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ZeroDivisionError), opened(home) as run:  # noqa: PT012
        run.client.delete_run(run.run_id)
        raise ZeroDivisionError
    assert run.run_id in caplog.text


def test_metrics_of_many_steps_and_threads_all_arrive(home: Path) -> None:
    def log(run: Run, name: str) -> None:
        for step in range(700):
            run.metrics({name: step / 7, f"{name}2": 1.0}, step)

    with opened(home) as run:
        threads = [threading.Thread(target=log, args=(run, f"m{index}")) for index in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        while not stored(run).data.metrics:  # long before the end the first ones are there
            time.sleep(0.1)
    for name in ("m0", "m1", "m2"):
        history = run.client.get_metric_history(run.run_id, name)
        assert [(point.step, point.value) for point in history] == [(step, step / 7) for step in range(700)]


@pytest.mark.ci
def test_a_long_parameter_is_cut_but_whole_in_the_artifact(home: Path) -> None:
    value = "ä" * 7000
    with open_run(QUIET, home, "long", {"a": {"b": value, **{f"k{i}": i for i in range(250)}}}, {}) as run:
        pass
    params = stored(run).data.params
    assert len(params) == 251
    assert params["a.b"] == "ä" * 5999 + "…"
    assert yaml.safe_load(artifact(run, "config.yaml").read_text())["a"]["b"] == value


def test_flatten_and_shorten() -> None:
    assert flatten({"a": {"b": {"c": 1}, "d": {}}, "e": [1]}) == {"a.b.c": 1, "a.d": {}, "e": [1]}
    assert [shorten(value) for value in ("x", True, None, 5e-5, {})] == ["x", "true", "null", "5e-05", "{}"]


def test_a_metric_that_mlflow_refuses_takes_no_other_with_it(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    with opened(home) as run:
        for step in range(1, 8):
            run.metrics({"curve/loss": 1 / step}, step)
            if step == 4:
                run.metrics({"x" * 300: 1.0}, step)
        run.metrics({"test/accuracy": 0.5}, 7)
    assert len(connect(home, "gradus")[0].get_metric_history(run.run_id, "curve/loss")) == 7
    assert stored(run).data.metrics["test/accuracy"] == 0.5
    assert sum("exceeds the maximum length" in record.message for record in caplog.records) == 1


def test_a_run_that_is_open_is_left_to_its_own_process(tmp_path: Path) -> None:
    with opened(tmp_path) as run:
        assert [(sent.run_id, sent.by_itself, sent.error) for sent in sync(tmp_path)] == [(run.run_id, True, "")]
    assert list(sync(tmp_path)) == []


@pytest.mark.ci
def test_a_run_knows_its_process_and_its_code(home: Path) -> None:
    with opened(home) as run:
        tags = stored(run).data.tags
    assert json.loads(tags["gradus.process"])["pid"] == os.getpid()
    assert tags["gradus.host"] == socket.gethostname()
    assert "gradus.version" in tags


def git(folder: Path, *arguments: str) -> str:
    names = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", "-C", str(folder), *names, *arguments], check=True, capture_output=True, text=True
    ).stdout


def test_the_revision_of_the_working_directory_and_whether_it_was_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "flow.py").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    monkeypatch.chdir(tmp_path)
    tags = code_tags()
    assert tags["mlflow.source.git.commit"] == git(tmp_path, "rev-parse", "HEAD").strip()
    assert tags["gradus.git.dirty"] == "false"
    (tmp_path / "flow.py").write_text("2")
    assert code_tags()["gradus.git.dirty"] == "true"


def test_without_git_there_is_no_revision(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "mlflow.source.git.commit" not in code_tags()


CHILD = """
import sys, time
from pathlib import Path
from components.tracking.config import TrackingConfig
from components.tracking.runs import open_run
with open_run(TrackingConfig(system_metrics=False), Path(sys.argv[1]), "child", {}, {}) as run:
    print(run.run_id, flush=True)
    time.sleep(600)
"""


@contextmanager
def child(home: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", CHILD, str(home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


@pytest.mark.ci
def test_a_run_whose_process_was_killed_is_closed_by_the_next_and_a_live_one_is_not(home: Path) -> None:
    client, _ = connect(home, "gradus")
    with child(home) as (process, run_id), opened(home) as live:
        assert client.get_run(run_id).info.status == "RUNNING", "opening a run leaves that of a live process alone"
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert client.get_run(run_id).info.status == "RUNNING"
        with opened(home):
            pass
        assert stored(live).info.status == "RUNNING"
    killed = client.get_run(run_id)
    assert killed.info.status == "KILLED"
    assert "ended without closing the run" in killed.data.tags["gradus.error"]


@pytest.mark.parametrize(
    ("change", "orphan"),
    [
        ({}, False),
        ({"started": 1.0}, not LINUX),  # the clock was set
        ({"started": 1.0, "ticks": None}, True),
        ({"ticks": 1}, LINUX),
        ({"boot": "another"}, True),
        ({"machine": "another", "boot": "another"}, False),
        ({"namespace": "a container's", "ticks": 1}, False),
    ],
)
def test_only_a_process_that_is_surely_gone_is_an_orphan(change: dict[str, object], orphan: bool) -> None:
    tags = process_tags()
    tags["gradus.process"] = json.dumps(json.loads(tags["gradus.process"]) | change)
    assert is_orphan(tags) is orphan
    assert not is_orphan(tags | {"gradus.host": "elsewhere"})


def test_runs_of_other_tools_are_left_alone(home: Path) -> None:
    client, experiment_id = connect(home, "foreign")
    run_id = client.create_run(experiment_id).info.run_id
    assert not is_orphan({})
    assert reconcile(client, experiment_id) == []
    assert client.get_run(run_id).info.status == "RUNNING"


def system_samples(run: Run) -> int:
    history = run.client.get_metric_history(run.run_id, "system/cpu_utilization_percentage")
    return len(history)


def test_a_short_run_has_one_sample_of_system_metrics_and_leaves_no_thread(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "3600")  # on a busy machine no run is short
    before = set(threading.enumerate())
    with opened(home, TrackingConfig()) as run:
        pass
    assert system_samples(run) == 1
    assert "system/system_memory_usage_megabytes" in stored(run).data.metrics
    assert set(threading.enumerate()) <= before


@pytest.mark.slow
def test_a_longer_run_is_sampled_as_it_goes(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.2")
    with opened(home) as run, system_metrics(run):
        while system_samples(run) < 2:
            time.sleep(0.1)


@pytest.mark.ci
def test_opening_is_silent(tmp_path: Path) -> None:
    script = CHILD.replace("time.sleep(600)", "pass")
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True
    )
    assert done.stderr == ""


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(TrackingError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_home_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    message = refused(lambda: connect(tmp_path / "file", "gradus"))
    assert str(tmp_path / "file") in message
    assert "GRADUS_HOME" in message


def hang_up(server: socket.socket, attempts: list[object]) -> None:
    """Close every connection that is made to a server."""
    with suppress(OSError):  # until it is shut down
        while True:
            connection, address = server.accept()
            attempts.append(address)
            connection.close()


def test_a_server_that_does_not_answer_is_one_line_after_one_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = f"127.0.0.1:{server.getsockname()[1]}"
        hanging = threading.Thread(target=hang_up, args=(server, attempts))
        hanging.start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@{place}")
        message = refused(lambda: connect(tmp_path, "gradus"))
        server.shutdown(socket.SHUT_RDWR)
        hanging.join()
    assert len(attempts) == 1, "MLflow by itself tries for minutes"
    assert f"http://{place}" in message
    assert "secret" not in message


def test_a_deleted_experiment_is_one_line(home: Path) -> None:
    client, experiment_id = connect(home, "gone")
    client.delete_experiment(experiment_id)
    assert "was deleted" in refused(lambda: connect(home, "gone"))


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://me:pw@host:5000/a", "https://host:5000/a"),
        ("https://token@host:5000/a", "https://host:5000/a"),
        ("postgresql://me:pa/ssw0rd@db/mlflow", "postgresql://db/mlflow"),
        ("postgresql://db/mlflow?user=me&password=pw", "postgresql://db/mlflow?user=***&password=***"),
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
    ],
)
def test_addresses_are_shown_without_passwords(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, shown: str
) -> None:
    assert without_password(uri) == shown
    assert without_password(shown) == shown
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert shown_store(tmp_path) == shown, "it is written to the outbox"


@pytest.mark.ci
def test_names_that_hold_a_word_that_is_a_secret_too_stay(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", "password")
    config = {"model": {"weights": "models:/password-reset/1"}, "source": {"url": "https://host/a?key=x"}}
    with open_run(TrackingConfig(experiment="password", system_metrics=False), home, "password-run", config) as run:
        run.set_tags({"gradus.parent_model": "models:/password-reset/1", "gradus.verdict": "password is wrong"})
        run.log_dict({"labels": ["password_reset"], "notes": ["password is wrong"]}, "facts.json")
    found = stored(run)
    assert run.client.get_experiment(found.info.experiment_id).name == "password"
    assert found.info.run_name == "password-run"
    assert found.data.params == {"model.weights": "models:/password-reset/1", "source.url": "https://host/a?key=***"}
    assert found.data.tags["gradus.parent_model"] == "models:/password-reset/1"
    assert found.data.tags["gradus.verdict"] == "*** is wrong"
    assert json.loads(artifact(run, "facts.json").read_text()) == {
        "labels": ["password_reset"],
        "notes": ["*** is wrong"],
    }
    assert yaml.safe_load(artifact(run, "config.yaml").read_text()) == config | {
        "source": {"url": "https://host/a?key=***"}
    }
