"""`deploy/local`: a whole service started for real; runs that a clock, new data and a candidate start; and its end."""

import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psutil
import pytest
import requests

from tests.pages import ROOT
from tests.patience import PATIENCE, eventually
from tests.ports import free_port

LOCAL = ROOT / "deploy/local"
PARTS = ("postgres", "prefect", "mlflow", "worker-1", "worker-2")
TRAINING = "classification/training"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.minutes,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(
        not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")), reason="PostgreSQL is not installed"
    ),
]


class Local:
    """The command, for a folder and ports of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {name: free_port() for name in ("prefect", "mlflow", "postgres")}
        ours = ("PREFECT", "GRADUS", "MLFLOW")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
        self.environment = kept | {"GRADUS_SERVICE_FOLDER": str(folder), "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}

    def type(self, command: str, exit_code: int | None = 0) -> str:
        """Run a command of it, and return what it printed."""
        return self.run([str(LOCAL), *shlex.split(command)], self.environment, exit_code)

    def run(self, words: list[str], environment: dict[str, str], exit_code: int | None = 0) -> str:
        done = subprocess.run(words, env=environment, cwd=ROOT, text=True, capture_output=True, timeout=PATIENCE)
        said = done.stdout + done.stderr
        assert exit_code in (None, done.returncode), f"{words}\n{said}\n{self.logs()}"
        return said

    def up(self) -> str:
        return self.type("up --workers 2 " + " ".join(f"--{name}-port {port}" for name, port in self.ports.items()))

    def shell(self, command: str, exit_code: int = 0) -> str:
        """Run a command in a shell that has done what `env` says."""
        words = ["bash", "-c", f'eval "$({LOCAL} env)" && {command}']
        environment = {**self.environment, "PATH": f"{ROOT}/.venv/bin:{os.environ['PATH']}"}
        return self.run(words, environment, exit_code)

    def logs(self) -> str:
        return "\n".join(f"{path}\n{path.read_text()[-2000:]}" for path in sorted((self.folder / "logs").glob("*.log")))

    def exported(self) -> dict[str, str]:
        """Return what `env` says."""
        lines = self.type("env").splitlines()
        return dict(shlex.split(line)[1].split("=", 1) for line in lines)

    def prefect(self) -> Any:
        from prefect.client.orchestration import SyncPrefectClient

        told = self.exported()
        return SyncPrefectClient(told["PREFECT_API_URL"], auth_string=told["PREFECT_API_AUTH_STRING"])

    def ended(self, flow: str, count: int) -> list[Any]:
        """Wait until so many runs of a flow have ended, and return them in the order in which they began."""

        def look() -> list[Any]:
            with self.prefect() as client:
                flows = {each.id: each.name for each in client.read_flows()}
                runs = [run for run in client.read_flow_runs() if flows.get(run.flow_id) == flow]
            done = [run for run in runs if run.state.is_final()]
            return sorted(done, key=lambda run: run.start_time) if len(done) >= count else []

        return eventually(look)

    def begin(self, epochs: int, *more: str) -> UUID:
        """Have a worker take a training, and return its id as soon as it is under way."""
        keys = [f"train.epochs={epochs}", "tracking.system_metrics=false", *more]
        with self.prefect() as client:
            deployment = client.read_deployment_by_name(TRAINING)
            run = client.create_flow_run_from_deployment(
                deployment.id, parameters={"preset": "spam-demo", "overrides": keys}
            )

            def training() -> bool:
                assert not client.read_flow_run(run.id).state.is_final()
                tasks = client.read_task_runs()
                return any(each.name.startswith("fine_tune") and each.state.is_running() for each in tasks)

            eventually(training)
        return UUID(str(run.id))

    def end(self, run_id: UUID) -> Any:
        """Return a run as soon as it has ended, whoever began it again meanwhile."""

        def look() -> Any:
            try:
                with self.prefect() as client:
                    run = client.read_flow_run(run_id)
            except httpx.TransportError:  # the server is on its way back
                return None
            return run if run.state.name in ("Completed", "Failed", "Cancelled") else None

        return eventually(look)

    def is_slot_kept(self) -> bool:
        """Tell whether the run that is under way can keep its slot of the deployment; once the server is back."""
        try:
            with self.prefect() as client:
                running = next(run for run in client.read_flow_runs() if run.state.is_running())
                client.renew_concurrency_lease(running.state.state_details.deployment_concurrency_lease_id, 300)
        except httpx.TransportError:
            return False
        return True

    def kill(self, command: str) -> bool:
        """Kill the processes that have this in their command, and say whether there was one."""
        found = [each for each in self.processes() if command in " ".join(each.cmdline())]
        for process in found:
            process.kill()
        return bool(found)

    def processes(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("GRADUS_SERVICE") == str(self.folder):
                    found.append(process)
            except psutil.Error:
                continue
        return found


@pytest.fixture(scope="module")
def local() -> Iterator[Local]:
    # Where another account may walk to: PostgreSQL does not run as root.
    folder = Path(tempfile.mkdtemp(prefix="gradus-local-"))
    folder.chmod(0o711)
    local = Local(folder / "service")
    try:
        local.up()
        yield local
    finally:
        local.type("down")
        shutil.rmtree(folder)


@pytest.mark.ci
def test_all_of_it_is_up_and_up_again_changes_nothing(local: Local) -> None:
    before = {process.pid for process in local.processes()}
    local.up()
    assert before <= {process.pid for process in local.processes()}
    said = local.type("status")
    assert all(re.search(rf"{part}\s+│ up", said) for part in PARTS), said
    assert "other settings" in local.type("up --workers 3", exit_code=2)
    assert "worker-3" not in local.type("status")
    with tempfile.TemporaryDirectory() as other:
        taken = local.type(f"up --folder {other} --prefect-port {local.ports['prefect']}", exit_code=2)
        assert "--prefect-port" in taken
        assert "there is no service" in local.type(f"status --folder {other}/nothing", exit_code=2)


@pytest.mark.ci
def test_nobody_is_answered_without_a_password_and_none_can_be_read(local: Local) -> None:
    told = local.exported()
    api, tracking = told["PREFECT_API_URL"], told["MLFLOW_TRACKING_URI"]
    assert requests.post(f"{api}/flow_runs/count", json={}, timeout=60).status_code == 401
    assert requests.post(f"{tracking}/api/2.0/mlflow/experiments/search", json={}, timeout=60).status_code == 401
    passwords = [told["MLFLOW_TRACKING_PASSWORD"], told["PREFECT_API_AUTH_STRING"].split(":")[1]]
    kept = local.folder / "secrets.json"
    assert kept.stat().st_mode & 0o077 == 0
    assert all(word in kept.read_text() for word in passwords)
    lines = " ".join(word for process in local.processes() for word in process.cmdline())
    assert not [word for word in passwords if word in lines or word in local.logs()]
    listening = {
        connection.laddr.ip
        for process in local.processes()
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


@pytest.mark.ci
def test_a_clock_starts_a_run_and_its_candidate_is_promoted_by_the_rules(local: Local) -> None:
    due = (datetime.now(UTC) + timedelta(seconds=5)).isoformat()
    parameters = '{"preset": "spam-demo", "overrides": ["tracking.system_metrics=false"]}'
    local.shell(f"prefect deployment run {TRAINING} --start-at '{due}' --params '{parameters}'")
    (run,) = local.ended("classification", 1)
    assert run.state.name == "Completed", (run.state.message, local.logs())
    (promotion,) = local.ended("promotion", 1)
    assert promotion.state.name == "Completed", promotion.state.message
    assert promotion.parameters["model"] == "models:/spam-demo/1"
    assert "champion" in local.shell("gradus models")


@pytest.mark.ci
def test_new_data_starts_a_run_and_what_is_not_good_enough_stays_a_candidate(local: Local, tmp_path: Path) -> None:
    file = tmp_path / "new messages.tsv"
    shutil.copy(ROOT / "components/data/samples/spam.tsv", file)
    keys = "--set train.max_steps=3 --set tracking.system_metrics=false"
    assert "published" in local.shell(f"gradus data publish '{file}' --preset spam-demo {keys}")
    run = local.ended("classification", 2)[1]
    assert run.state.name == "Completed", (run.state.message, local.logs())
    assert str(file) in " ".join(run.parameters["overrides"])
    promotion = local.ended("promotion", 2)[1]
    assert promotion.state.name == "Failed"
    assert promotion.parameters["model"] == "models:/spam-demo/2"
    said = local.shell("gradus models spam-demo --json")
    (model,) = json.loads(next(line for line in said.splitlines() if line.startswith("[")))
    aliases = {alias: version["version"] for version in model["versions"] for alias in version["aliases"]}
    assert (aliases["champion"], aliases["candidate"]) == ("1", "2")


@pytest.mark.ci
def test_a_part_that_dies_is_started_again(local: Local) -> None:
    def worker() -> psutil.Process | None:
        return next((each for each in local.processes() if "worker-1" in each.cmdline()), None)

    first = worker()
    assert first
    first.kill()
    eventually(lambda: (now := worker()) and now.pid != first.pid)
    assert eventually(lambda: re.search(r"worker-1\s+│ up", local.type("status", exit_code=None)))


def test_servers_and_database_may_restart_under_a_run(local: Local) -> None:
    begun = local.begin(epochs=8)
    assert all(map(local.kill, ("bin/postgres", "prefect server", "mlflow server")))
    eventually(local.is_slot_kept)
    run = local.end(begun)
    assert run.state.name == "Completed", (run.state.message, local.logs())
    found = json.loads(local.shell("gradus runs --json").splitlines()[-1])
    assert found[0]["status"] == "FINISHED", found[0]


def test_a_run_that_is_killed_is_begun_again_and_goes_on(local: Local) -> None:
    begun = local.begin(9, "train.checkpoint_minutes=0.02")
    eventually(lambda: list(local.folder.glob("store/fine_tune/*.checkpoint.json")))  # for whichever worker goes on
    assert local.kill("prefect.engine")
    run = local.end(begun)
    assert run.state.name == "Completed", (run.state.message, local.logs())
    assert run.run_count >= 2
    said = "".join(path.read_text() for path in (local.folder / "logs").glob("worker-*.log"))
    assert "going on from step" in said


def test_down_cancels_what_runs_leaves_no_process_and_up_goes_on(local: Local) -> None:
    begun = local.begin(epochs=900)
    assert "is cancelled" in local.type("down")
    assert local.processes() == []
    assert "down" in local.type("status", exit_code=1)
    local.up()
    assert local.end(begun).state.name == "Cancelled"
    assert "champion" in local.shell("gradus models")
