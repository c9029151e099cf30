"""`gradus run` with a temporary Prefect server, when one of the two is killed."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from components.core.home import home
from tests.patience import PATIENCE

GRADUS = [sys.executable, "-c", "from pipelines.cli.start import main; main()"]
TINY = [
    "--set=model.size={layers: 1, heads: 1, width: 16, context: 128}",
    "--set=train.max_steps=3",
    "--set=train.eval_batches=2",
]


def start(folder: Path) -> "subprocess.Popen[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
    return subprocess.Popen(
        [*GRADUS, "run", "spam-demo", *TINY, "--json"],
        env=environment | {"PREFECT_HOME": str(folder), "DO_NOT_TRACK": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(line: str, process: "subprocess.Popen[str]") -> list[str]:
    """Read what a run says until it says this."""
    assert process.stderr
    said: list[str] = []
    while not said or line not in said[-1]:
        said.append(process.stderr.readline())
        assert said[-1], said
    return said


def states(folder: Path, table: str) -> list[str]:
    with closing(sqlite3.connect(folder / "prefect.db")) as database:
        return [name for (name,) in database.execute(f"SELECT state_name FROM {table} ORDER BY created")]


def mlflow_statuses() -> dict[str, str]:
    client = MlflowClient(f"sqlite:///{home()}/mlflow.db")
    experiment = client.get_experiment_by_name("spam-demo")
    assert experiment
    return {run.info.run_id: run.info.status for run in client.search_runs([experiment.experiment_id])}


@pytest.mark.slow
def test_what_is_killed_leaves_nothing_behind(tmp_path: Path) -> None:
    killed = start(tmp_path)
    wait_for("split: done", killed)
    children = psutil.Process(killed.pid).children(recursive=True)
    assert any("pipelines.cli.prefect_server.child" in child.cmdline() for child in children)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=PATIENCE)  # nobody else holds its output open
    assert psutil.wait_procs(children, timeout=PATIENCE)[1] == []
    assert states(tmp_path, "flow_run") == ["Running"]
    (dead,) = mlflow_statuses()

    loses = start(tmp_path)
    said = wait_for("split: ", loses)
    assert states(tmp_path, "flow_run") == ["Crashed", "Running"]
    assert not {"Running", "Pending"} & set(states(tmp_path, "task_run")[:1])
    for child in psutil.Process(loses.pid).children():
        if "pipelines.cli.prefect_server.child" in child.cmdline():
            child.kill()
    out, err = loses.communicate(timeout=PATIENCE)
    said += err.splitlines()
    assert loses.returncode == 0, said
    result = json.loads(out)
    assert result["status"] == "FINISHED"
    assert result["model_uri"] == "models:/spam-demo/1"
    assert [line for line in said if "Prefect" in line and "was lost while this ran" in line] == [said[-1]]
    assert not [line for line in said if "Traceback" in line or "Error" in line]
    assert result["run_id"] == dead
    assert mlflow_statuses() == {dead: "FINISHED"}

    last = start(tmp_path)
    assert last.communicate(timeout=PATIENCE)[1]
    assert last.returncode == 0
    assert states(tmp_path, "flow_run") == ["Crashed", "Crashed", "Completed"]
    assert not {"Running", "Pending"} & set(states(tmp_path, "task_run"))
