"""`gradus run` and `kill -9`: whenever it comes, the next run goes on in the same MLflow run as if it had not come."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.pipelines.faults.runs import left, only_run
from tests.pipelines.instructing import entries, write_preset

ROOT = Path(__file__).parents[2]
DRIVER = """
import importlib, math, os, signal, sys

def kill_at(spec):
    module, name, number, when = spec.split(":")
    owner = importlib.import_module(module)
    *path, name = name.split(".")
    for each in path:
        owner = getattr(owner, each)
    whole, calls = getattr(owner, name), 0

    def cut(*arguments, **named):
        nonlocal calls
        calls += 1
        if calls == int(number) and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = whole(*arguments, **named)
        if calls == int(number):
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, cut)

if sys.argv[1] != "never":
    kill_at(sys.argv[1])
from components.tracking.outbox import delivery
from components.training import checkpoints
delivery.COLLECT_SECONDS = 0.1
checkpoints.SHARE = math.inf
del sys.argv[1]
from pipelines.cli.start import main
main()
"""
TRAINING = [
    "components.training.loop:log_step:1:after",
    "components.training.checkpoints:write_checkpoint:3:after",
    "components.training.checkpoints:sync_names:6:after",
    "components.training.checkpoints:read_checkpoint:1:after",
    "components.core.store:describe:1:before",
]
"""In the first step, before there is a checkpoint; while one is written; when the second has its name, and the first is
still there; right after going on from it; when training has ended."""
RECORDING = [
    "components.tracking.runs:Run.log_table:2:before",
    "mlflow:MlflowClient.log_outputs:1:after",
    "mlflow:MlflowClient.create_registered_model:1:before",
    "mlflow:MlflowClient.set_logged_model_tags:1:before",
    "components.tracking.runs:Run.close:1:before",
]
"""When there are metrics and a table; when the model's files are there; before it is registered, and after."""
OPTIONS = ["--set=train.checkpoint_minutes=1e-9", "--set=train.max_steps=5", "--set=train.eval_every=2", "--json"]


def gradus(home: Path, kill: str, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", DRIVER, kill, "run", *arguments, *OPTIONS]
    env = environment | {"GRADUS_HOME": str(home)}
    return subprocess.run(command, env=env, capture_output=True, text=True)


def check(tmp_path: Path, environment: dict[str, str], moments: list[str], *arguments: str) -> None:
    whole = gradus(tmp_path / "whole", "never", environment, *arguments)
    assert whole.returncode == 0, whole.stderr
    home = tmp_path / "killed"
    gone_on = 0
    for number, moment in enumerate(moments):
        killed = gradus(home, moment, environment, *arguments)
        assert killed.returncode == -signal.SIGKILL, f"{moment}: {killed.stderr}"
        goes_on = f"going on in run {only_run(home)[1].info.run_id}" in killed.stderr
        gone_on += goes_on
        if "MlflowClient" not in moment:  # else it may be killed while it sends what the one before has left
            assert goes_on == (number > 0), killed.stderr
            assert only_run(home)[1].info.status == "RUNNING"
    last = gradus(home, "never", environment, *arguments)
    assert last.returncode == 0, last.stderr
    assert "nothing has changed" not in last.stderr
    assert left(home) == left(tmp_path / "whole")
    run = only_run(home)[1]
    assert len(run.data.tags["gradus.resumed"].split(", ")) == gone_on + 1
    assert json.loads(last.stdout)["run_id"] == run.info.run_id


@pytest.mark.ci
def test_a_killed_training_goes_on_in_its_run(tmp_path: Path, environment: dict[str, str]) -> None:
    preset = str(write_preset(tmp_path / "data"))
    check(tmp_path, environment, ["components.training.loop:log_step:4:before"], preset)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_whenever_a_classification_is_killed_the_next_run_ends_as_if_nothing_had_been(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    tiny = ["--set=model.size={layers: 1, heads: 1, width: 16, context: 128}", "--set=tracking.system_metrics=false"]
    moments = [*TRAINING, "components.evaluation.classification:evaluate:1:before", *RECORDING]
    check(tmp_path, environment, moments, "spam-demo", *tiny)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_whenever_an_instruction_run_is_killed_the_next_run_ends_as_if_nothing_had_been(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    preset = str(write_preset(tmp_path / "data"))
    moments = [*TRAINING, "components.evaluation.instruction:evaluate_responses:1:before", *RECORDING]
    check(tmp_path, environment, moments, preset)


@pytest.mark.slow
def test_a_run_is_not_gone_on_in_with_other_data_as_if_nothing_had_happened(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    preset = str(write_preset(tmp_path / "data"))
    home = tmp_path / "home"
    gradus(home, "components.training.loop:log_step:4:before", environment, preset)
    write_preset(tmp_path / "data", content=entries(90))
    done = gradus(home, "never", environment, preset)
    assert "the data has changed since run" in done.stderr
    client, run = only_run(home)
    second = [point for point in client.get_metric_history(run.info.run_id, "curve/batch_loss") if point.step == 2]
    steps = pd.read_parquet(next(home.glob("store/fine_tune/*/steps.parquet")))
    assert max(second, key=lambda point: point.timestamp).value == steps["loss"].iloc[1]
