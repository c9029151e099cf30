"""A run whose process was killed is gone on in by the next of the same config, and no other run is."""

import json
import multiprocessing
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient

from components.tracking import resuming
from components.tracking.config import TrackingConfig
from components.tracking.resuming import RESUMED_TAG
from components.tracking.runs import Run, attached, open_run
from components.tracking.stores import connect
from tests.tracking.dying import open_and_die

Params = dict[str, Any]
FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["mlflow", "pandas", "components.tracking.runs"])  # which takes seconds, and once will do


def kill_one(home: Path, params: Params) -> str:
    """Open a run in a process that is killed; return its id."""
    ours, theirs = FORKED.Pipe(duplex=False)
    process = FORKED.Process(target=open_and_die, args=(home, params, theirs))
    process.start()
    run_id: str = ours.recv()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    return run_id


@contextmanager
def opened(home: Path, params: Params) -> Iterator[Run]:
    with open_run(TrackingConfig(system_metrics=False), home, "a run", params) as run:
        yield run


def client(home: Path) -> MlflowClient:
    return connect(home, "gradus")[0]


@pytest.fixture
def params(request: pytest.FixtureRequest) -> Params:
    """A config of the test's own: tests share a store."""
    return {"test": request.node.name}


@pytest.mark.ci
def test_it_has_every_point_and_every_row_once(home: Path, params: Params) -> None:
    run_id = kill_one(home, params)
    with opened(home, params) as run:
        assert run.run_id == run_id
        assert client(home).get_run(run_id).info.status == "RUNNING"
        with attached(run_id, home) as again:
            for step in range(2, 6):
                again.metrics({"curve/loss": 1 / step}, step)
            again.metrics({"test/accuracy": 0.5, "test/f1": 0.25}, 3)
        run.log_table(pd.DataFrame({"text": ["a", None], "p": [0.5, 1.0]}), "table.json")
    found = client(home).get_run(run_id)
    points = client(home).get_metric_history(run_id, "curve/loss")
    assert [(point.step, point.value) for point in points] == [(step, 1 / step) for step in range(1, 6)]
    assert len(client(home).get_metric_history(run_id, "test/accuracy")) == 1
    assert found.data.metrics["test/f1"] == 0.25
    assert json.loads((Path(found.info.artifact_uri) / "table.json").read_text())["data"] == [["a", 0.5], [None, 1.0]]
    assert found.info.status == "FINISHED"
    assert json.loads(found.data.tags["gradus.process"])["pid"] == os.getpid()
    assert not {"gradus.error", "mlflow.note.content"} & found.data.tags.keys()


@pytest.mark.ci
def test_it_is_gone_on_in_as_often_as_it_is_killed(home: Path, params: Params) -> None:
    assert len({kill_one(home, params) for _ in range(3)}) == 1
    with opened(home, params) as run:
        times = run.client.get_run(run.run_id).data.tags[RESUMED_TAG].split(", ")
    assert len(times) == 3
    assert times == sorted(times)


@pytest.mark.ci
def test_it_may_have_been_closed_by_a_run_of_another_config_meanwhile(home: Path, params: Params) -> None:
    run_id = kill_one(home, params)
    with opened(home, {"other": params}) as other:
        assert other.run_id != run_id
        assert other.client.get_run(run_id).info.status == "KILLED"
    with opened(home, params) as run:
        assert run.run_id == run_id


@pytest.mark.ci
def test_the_newest_is_gone_on_in_and_none_after_one_that_came_to_its_end(home: Path, params: Params) -> None:
    with opened(home, params) as live:  # so that the first is not gone on in by the second
        first, second = kill_one(home, params), None
        assert first != live.run_id
        live.client.set_tag(first, "gradus.config", "hidden")
        second = kill_one(home, params)
        live.client.set_tag(first, "gradus.config", live.client.get_run(second).data.tags["gradus.config"])
        with opened(home, params) as run:
            assert run.run_id == second
        with opened(home, params) as run:
            assert run.run_id not in (first, second, live.run_id)


@pytest.mark.ci
@pytest.mark.parametrize("ended", [KeyboardInterrupt, ZeroDivisionError])
def test_a_run_whose_end_was_seen_is_closed_for_good(home: Path, params: Params, ended: type[BaseException]) -> None:
    with pytest.raises(ended), opened(home, params) as run:
        raise ended
    with opened(home, params) as another:
        assert another.run_id != run.run_id
        assert RESUMED_TAG not in another.client.get_run(another.run_id).data.tags


@pytest.mark.ci
def test_one_that_was_deleted_is_not_gone_on_in_and_that_is_said(
    home: Path, params: Params, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = kill_one(home, params)
    client(home).delete_run(run_id)
    with opened(home, params) as run:
        assert run.run_id != run_id
    assert f"run {run_id}, of this config, was killed and then deleted: this is a new run" in caplog.text


def test_one_of_another_machine_is_left_alone_and_that_is_said(
    home: Path, params: Params, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = kill_one(home, params)
    client(home).set_tag(run_id, "gradus.host", f"not-{socket.gethostname()}")
    with opened(home, params) as run:
        assert run.run_id != run_id
        assert run.client.get_run(run_id).info.status == "RUNNING"
    assert f"run {run_id} of this config is open on not-{socket.gethostname()}: this is a new run" in caplog.text


def test_one_of_another_home_that_shares_the_store_is_left_to_it(
    home: Path, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home}/mlflow.db")
    run_id = kill_one(home, params)
    with opened(tmp_path / "somebody else's", params) as run:
        assert run.run_id != run_id
        assert run.client.get_run(run_id).info.status == "KILLED"
    with opened(home, params) as run:
        assert run.run_id == run_id


@pytest.mark.ci
def test_one_of_another_torch_is_not_gone_on_in(home: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = kill_one(home, params)
    installed = resuming.library_versions(*resuming.TRAINING)
    assert installed["torch"] == metadata.version("torch")
    monkeypatch.setattr(resuming, "library_versions", lambda *_: {**installed, "torch": "0"})
    with opened(home, params) as run:
        assert run.run_id != run_id
