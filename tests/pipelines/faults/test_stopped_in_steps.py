"""SIGTERM and Ctrl-C in every step of every kind: exit code 130, one line, a run that is KILLED, nothing left over."""

import json
import os
import signal
from pathlib import Path

import psutil
import pytest

from components.core.home import home
from tests.patience import PATIENCE
from tests.pipelines.faults.child import WAIT_AT
from tests.pipelines.faults.runs import (
    NAME,
    STEPS,
    all_runs,
    at_work,
    children_of,
    drafts,
    environment_without_prefect,
    gradus,
    lines_of,
    reached,
    statuses,
    taken,
    write_preset,
)

pytestmark = pytest.mark.minutes
INTERRUPTED = 130
LINE = "gradus: interrupted; finished steps are kept, the next run goes on after them"


@pytest.mark.slow
@pytest.mark.parametrize("blow", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("kind", STEPS)
def test_a_run_that_is_stopped_in_each_of_its_steps_says_so_and_the_next_goes_on(
    kind: str, blow: signal.Signals, tmp_path: Path, environment: dict[str, str]
) -> None:
    preset = write_preset(kind, tmp_path / "data")
    for number, step in enumerate(STEPS[kind], 1):
        with at_work(
            step, "run", preset, "--json", environment=environment, folder=tmp_path, moment="begun"
        ) as process:
            children = children_of(process)
            process.send_signal(blow)
            out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == INTERRUPTED, err
        assert lines_of(err) == [LINE]
        assert json.loads(out)["status"] == "KILLED"
        assert psutil.wait_procs(children, timeout=PATIENCE)[1] == []
        assert drafts(home()) == [], "it has removed what was half done"
        assert statuses(home()) == {"KILLED": number}
    last = gradus("run", preset, "--json", environment=environment)
    assert last.returncode == 0, last.stderr
    assert taken(last) == STEPS[kind][:-1]
    assert statuses(home()) == {"KILLED": len(STEPS[kind]), "FINISHED": 1}


@pytest.mark.slow
@pytest.mark.parametrize("blow", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_stopped_while_its_model_is_registered_leaves_one_version(
    blow: signal.Signals, tmp_path: Path, environment: dict[str, str]
) -> None:
    preset = write_preset("instruction", tmp_path / "data")
    where = {WAIT_AT: "components.tracking.registry.publishing:find_published:1"}
    with reached("run", preset, environment=environment, folder=tmp_path, **where) as process:
        process.send_signal(blow)
        err = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == INTERRUPTED, err
    assert lines_of(err) == [LINE]
    last = gradus("run", preset, "--json", environment=environment)
    assert last.returncode == 0, last.stderr
    assert taken(last) == STEPS["instruction"]
    assert statuses(home()) == {"KILLED": 1, "FINISHED": 1}
    client, _ = all_runs(home())
    (version,) = client.search_model_versions(f"name='{NAME}'")
    assert client.get_model_version_by_alias(NAME, "candidate").version == version.version


@pytest.mark.slow
def test_ctrl_c_at_a_terminal_ends_the_temporary_server_too_and_is_one_line(tmp_path: Path) -> None:
    preset = write_preset("classification", tmp_path / "data")
    environment = environment_without_prefect() | {"PREFECT_HOME": str(tmp_path / "prefect")}
    with at_work("split", "run", preset, environment=environment, folder=tmp_path, moment="begun") as process:
        children = children_of(process)
        assert children
        os.killpg(process.pid, signal.SIGINT)  # a terminal tells all of its processes
        err = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == INTERRUPTED, err
    assert err.splitlines()[-1] == LINE
    assert lines_of(err) == [LINE]
    assert psutil.wait_procs(children, timeout=PATIENCE)[1] == []
    assert statuses(home()) == {"KILLED": 1}
