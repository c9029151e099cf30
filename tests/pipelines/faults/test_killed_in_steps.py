"""`kill -9` in every step of every kind, and in registration: the next run goes on after the steps that were done."""

import json
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
    at_work,
    children_of,
    drafts,
    gradus,
    left,
    only_run,
    reached,
    taken,
    write_preset,
)

pytestmark = pytest.mark.minutes
REGISTRATION = [
    "mlflow:MlflowClient.log_model_artifacts:1",
    "mlflow:MlflowClient.create_model_version:1",
    "mlflow:MlflowClient.set_registered_model_alias:1",
]
"""When the model is named, but its files are not there; before it has a version; when it has one, without an alias."""


def kept() -> dict[str, int]:
    """When each result of the store was written."""
    return {str(path.parent): path.stat().st_mtime_ns for path in home().glob("store/*/*/manifest.json")}


@pytest.mark.slow
@pytest.mark.parametrize("kind", STEPS)
def test_a_run_that_is_killed_in_each_of_its_steps_ends_as_if_it_had_not_been(
    kind: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    preset = write_preset(kind, tmp_path / "data")
    for number, step in enumerate(STEPS[kind]):
        before = kept()
        with at_work(step, "run", preset, environment=environment, folder=tmp_path) as process:
            children = children_of(process)
            process.send_signal(signal.SIGKILL)
            assert process.wait(PATIENCE) == -signal.SIGKILL
        assert psutil.wait_procs(children, timeout=PATIENCE)[1] == []
        assert [Path(each).parent.name for each in kept()].count(step) == 0, "what was not published is not there"
        assert before.items() <= kept().items(), "what was done is not done again"
        assert len(kept()) == number
        assert drafts(home()), "it was killed at work"
        assert only_run(home())[1].info.status == "RUNNING", step
    for moment in REGISTRATION:
        where = {WAIT_AT: moment}
        with reached("run", preset, environment=environment, folder=tmp_path, **where) as process:
            process.send_signal(signal.SIGKILL)
    last = gradus("run", preset, "--json", environment=environment)
    assert last.returncode == 0, last.stderr
    assert taken(last) == STEPS[kind]
    client, run = only_run(home())
    assert json.loads(last.stdout)["run_id"] == run.info.run_id
    (version,) = client.search_model_versions(f"name='{NAME}'")
    assert client.get_model_version_by_alias(NAME, "candidate").version == version.version
    killed = left(home())

    whole = gradus("run", preset, environment=environment, GRADUS_HOME=str(tmp_path / "whole"))
    assert whole.returncode == 0, whole.stderr
    assert killed == left(tmp_path / "whole")
