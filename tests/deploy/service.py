"""A Prefect server and what is started beside it, as processes: for the tests of deploy/."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import requests

from tests.pages import ROOT
from tests.patience import PATIENCE
from tests.ports import free_port

PASSWORD = "gradus:of-this-test"


class Service:
    """A Prefect server with a password, and what is started beside it; everything in one folder."""

    def __init__(self, folder: Path, exports: Mapping[str, str]) -> None:
        port = free_port()
        self.folder = folder
        self.api = f"http://127.0.0.1:{port}/api"
        self.homes: list[Path] = []
        self.processes: list[subprocess.Popen[bytes]] = []
        ours = ("PREFECT", "GRADUS", "MLFLOW")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
        self.environment = {
            **kept,
            **exports,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}",
            "PREFECT_API_URL": self.api,
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_SERVER_API_PORT": str(port),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "HF_HUB_OFFLINE": "1",
            "TMPDIR": str(folder),
            "COLUMNS": "200",
        }

    def type(self, command: str, exit_code: int = 0) -> str:
        """Run a command to its end, from the root of the checkout, and return what it printed."""
        done = subprocess.run(
            shlex.split(command), cwd=ROOT, env=self.environment, text=True, stdout=-1, stderr=-2, timeout=PATIENCE
        )
        assert done.returncode == exit_code, f"{command}\n{done.stdout}\n{self.logs()}"
        return done.stdout

    def start(self, command: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start what runs until it is stopped, in a session of its own."""
        with (self.folder / f"{len(self.processes)}.log").open("w") as log:
            process = subprocess.Popen(
                shlex.split(command),
                cwd=self.folder,
                env=self.environment | environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def start_on_new_machine(self, command: str) -> None:
        """Start a command with a home of its own."""
        self.homes.append(self.folder / f"machine{len(self.homes)}")
        self.start(command, GRADUS_HOME=str(self.homes[-1]))

    def stop(self) -> None:
        """Kill everything. A worker gives each run a session of its own, so they are looked up first."""
        for process in reversed(self.processes):
            with suppress(psutil.NoSuchProcess):
                for child in psutil.Process(process.pid).children(recursive=True):
                    with suppress(psutil.NoSuchProcess):
                        child.kill()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=PATIENCE)

    def logs(self) -> str:
        """Return the ends of what the processes have printed."""
        return "\n".join(path.read_text()[-3000:] for path in sorted(self.folder.glob("*.log")))

    def answers(self) -> bool:
        """Say whether the server, which was started first, can be used."""
        assert self.processes[0].poll() is None, self.logs()
        with suppress(requests.ConnectionError):
            return requests.get(f"{self.api}/health", timeout=30).ok
        return False

    def flow_run(self, run_id: str) -> Any:
        """Return a flow run as the server has it."""
        with self.client() as client:
            return client.read_flow_run(UUID(run_id))

    def running_tasks(self, run_id: str) -> set[str]:
        """Return the names of the tasks that a flow run is at."""
        from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

        only = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(run_id)]))
        with self.client() as client:
            runs = client.read_task_runs(flow_run_filter=only)
        return {run.name.rpartition("-")[0] for run in runs if run.state and run.state.is_running()}

    def planned(self) -> list[Any]:
        """Return the runs that the schedule has planned, the next one first."""
        with self.client() as client:
            return sorted(
                (run for run in client.read_flow_runs() if run.auto_scheduled), key=lambda run: run.expected_start_time
            )

    def client(self) -> Any:
        from prefect.client.orchestration import SyncPrefectClient

        return SyncPrefectClient(self.api, auth_string=self.environment["PREFECT_API_AUTH_STRING"])

    def mlflow_statuses(self) -> list[str]:
        """Return the statuses of the MLflow runs of all machines, sorted; not while one is made."""
        from mlflow import MlflowClient

        found = []
        for home in self.homes:
            if (home / "mlflow.db").exists():
                client = MlflowClient(f"sqlite:///{home}/mlflow.db")
                experiments = [experiment.experiment_id for experiment in client.search_experiments()]
                found += [run.info.status for run in client.search_runs(experiments)]
        return sorted(found)


@contextmanager
def with_password(folder: Path) -> Iterator[Service]:
    """Give a server that answers, to who knows its password, and stop at the end what was started beside it."""
    passwords = {"PREFECT_SERVER_API_AUTH_STRING": PASSWORD, "PREFECT_API_AUTH_STRING": PASSWORD}
    service = Service(folder, {**passwords, "GRADUS_HOME": str(folder / "home")})
    try:
        service.start("prefect server start")
        wait_until(service.answers, service)
        yield service
    finally:
        service.stop()


def wait_until(true: Callable[[], object], service: Service, seconds: float = PATIENCE) -> None:
    """Ask until the answer is yes; fail, with what the processes printed, when it takes too long."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, service.logs()
        time.sleep(0.5)
