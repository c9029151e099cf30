"""The clock is set back by an hour: the next run goes on all the same, and nothing takes less than no time."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from components.core.home import home
from tests.patience import PATIENCE
from tests.pipelines.faults.child import WAIT_AT
from tests.pipelines.faults.runs import gradus, left, only_run, reached, write_preset

HOUR = 3600
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
OPTIONS = ["--set=train.checkpoint_minutes=1e-9", "--set=train.max_steps=5", "--json"]


@pytest.mark.slow
@pytest.mark.skipif(FAKETIME is None, reason="there is no libfaketime")
def test_a_run_goes_on_where_the_clock_was_set_back(tmp_path: Path, environment: dict[str, str]) -> None:
    preset = write_preset("classification", tmp_path / "data")
    whole = gradus("run", preset, *OPTIONS, environment=environment, GRADUS_HOME=str(tmp_path / "whole"))
    assert whole.returncode == 0, whole.stderr

    where = {WAIT_AT: "components.training.loop:log_step:4"}
    with reached("run", preset, *OPTIONS, environment=environment, folder=tmp_path, **where) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE)
    checkpoints = list(home().glob("store/fine_tune/.*/checkpoint/*"))
    assert checkpoints
    for each in home().rglob("*"):  # as if all of it had been written before the clock was set back
        os.utime(each, (time.time() + HOUR, time.time() + HOUR), follow_symlinks=False)
    back = {"LD_PRELOAD": str(FAKETIME), "FAKETIME": "-1h", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}
    done = gradus("run", preset, *OPTIONS, environment=environment, **back)
    assert done.returncode == 0, done.stderr
    client, run = only_run(home())
    assert json.loads(done.stdout)["run_id"] == run.info.run_id
    assert "fine_tune: going on from step " in done.stderr
    assert run.info.start_time <= run.info.end_time, "its duration is none below 0"
    assert left(home()) == left(tmp_path / "whole")
    (taken,) = client.get_metric_history(run.info.run_id, "cost/training_minutes")
    assert taken.value >= 0
