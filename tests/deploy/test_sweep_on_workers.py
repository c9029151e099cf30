"""A sweep whose runs the workers of a deployment take: each is a flow run there, and a run under the same parent."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from tests.deploy.service import Service, wait_until
from tests.pages import ROOT

NAME = "classification/sweeps"
PASSWORD = "gradus:of-this-test"
SWEEP = (
    f"gradus sweep spam-demo --deployment {NAME} --jobs 2 --json --limit 300 --set tracking.system_metrics=false "
    "--set train.max_steps=3 --grid train.warmup=0,50"
)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A server with a deployment that may run several at once, and two workers, all with the same home."""
    written = yaml.safe_load((ROOT / "deploy/prefect.yaml").read_text())
    deployment = next(each for each in written["deployments"] if each["schedules"])
    deployment |= {"name": "sweeps", "schedules": []}
    del deployment["concurrency_limit"], deployment["triggers"]
    written["deployments"] = [deployment]
    (tmp_path / "prefect.yaml").write_text(yaml.safe_dump(written))
    passwords = {"PREFECT_SERVER_API_AUTH_STRING": PASSWORD, "PREFECT_API_AUTH_STRING": PASSWORD}
    service = Service(tmp_path, {**passwords, "GRADUS_HOME": str(tmp_path / "home")})
    try:
        service.start("prefect server start")
        wait_until(service.answers, service)
        service.type(f"gradus deploy --file {tmp_path}/prefect.yaml")
        for _ in range(2):
            service.start("prefect worker start --pool gradus --limit 1")
        yield service
    finally:
        service.stop()


def test_workers_share_the_runs_of_a_sweep(service: Service, tmp_path: Path) -> None:
    assert "has no such deployment" in service.type(SWEEP.replace("sweeps", "nothing"), exit_code=2)
    printed = service.type(SWEEP, exit_code=1)
    found = json.loads(next(line for line in printed.splitlines() if line.startswith("{")))
    good, bad = found["rows"]
    assert len(good["runs"]) == 1
    assert good["peak_memory_gb"] > 0
    assert "warmup" in bad["failed"][0]

    with service.client() as client:
        states = [run.state.name for run in client.read_flow_runs() if "gradus-sweep" in run.tags]
    assert sorted(states) == ["Completed", "Failed"]
    tracked = MlflowClient(f"sqlite:///{tmp_path}/home/mlflow.db")
    children = tracked.search_runs(["1"], f"tags.`mlflow.parentRunId` = '{found['run_id']}'")
    assert sorted(run.info.status for run in children) == ["FAILED", "FINISHED"]

    again = json.loads(next(line for line in service.type(SWEEP, exit_code=1).splitlines() if line.startswith("{")))
    assert again["rows"][0]["runs"] == good["runs"]
    with service.client() as client:
        assert len([run for run in client.read_flow_runs() if "gradus-sweep" in run.tags]) == 3
