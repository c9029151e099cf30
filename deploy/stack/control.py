"""Starting a service, asking how it is, and stopping it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

import psutil
import requests

from components.core.errors import ConfigError, GradusError
from deploy.stack import postgres
from deploy.stack.programs import STOPPING, mlflow_users, programs, supervisor_file
from deploy.stack.programs import socket as control_socket
from deploy.stack.settings import HOST, MARK, POOL, USER, Stack, write_private

PATIENCE = 300.0
"""Seconds that a server gets to answer: on a busy machine Prefect's makes its tables in a minute."""
ANSWER = 10.0
UNDER_WAY = ["RUNNING", "PENDING", "CANCELLING"]
LAST_WORD = 10.0
"""Seconds that a worker gets to say that a run whose process has ended was cancelled."""
LONGEST_SOCKET = 100
"""Characters of a socket's path; Linux allows 107."""
SHOWN = 15
"""Lines of a log that an error shows."""
SERVERS = ("postgres", "prefect", "mlflow")
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Part:
    """How a part of the service is."""

    name: str
    healthy: bool
    state: str
    """What supervisord says, or what it answers."""


def up(stack: Stack, tell: Tell) -> None:
    """Start what does not run yet, one after the other, and deploy.

    Raises:
        ConfigError: if something is not installed, or a port is taken.
        GradusError: if a part does not come up; its log is shown.
    """
    _needed()
    if len(str(control_socket(stack))) > LONGEST_SOCKET:
        raise ConfigError(f"{stack.folder} is too long a path for a socket: choose another --folder")
    stack.logs.mkdir(mode=0o700, exist_ok=True)
    wanted, file = supervisor_file(stack), stack.folder / "supervisord.conf"
    if _answers(stack):
        if file.read_text() != wanted:
            raise ConfigError("it runs with other settings: `deploy/local down` first")
    else:
        _free_ports(stack)
        postgres.make_cluster(stack)
        stack.keep_settings()
        write_private(file, wanted)
        write_private(stack.folder / "mlflow.ini", mlflow_users(stack))
        subprocess.run([sys.executable, "-m", "supervisor.supervisord", "-c", str(file)], check=True)
        _wait(lambda: _answers(stack), "supervisord", stack)
    for each in SERVERS:
        _start(stack, each)
        _wait_for(stack, each, tell)
    _deploy(stack)  # the pool has to be there before workers look for it
    workers = [program.name for program in programs(stack) if program.name not in SERVERS]
    for each in workers:
        (stack.folder / each).mkdir(mode=0o700, exist_ok=True)
        _start(stack, each)
    for each in workers:
        _wait_for(stack, each, tell)


def status(stack: Stack) -> list[Part]:
    """Return how each part is."""
    return [check(stack, program.name) for program in programs(stack)]


def down(stack: Stack, tell: Tell) -> None:
    """Cancel what runs, which the next start goes on from, stop everything, and leave no process behind."""
    if _answers(stack):
        with suppress(requests.RequestException):  # a server that is away cannot cancel anything
            _cancel_runs(stack, tell)
        supervisor(stack).supervisor.shutdown()
        deadline = time.monotonic() + (2 + stack.settings.workers) * STOPPING
        while _answers(stack) and time.monotonic() < deadline:
            time.sleep(0.2)
    left = _processes(stack)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in psutil.wait_procs(left, timeout=STOPPING)[1]:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    control_socket(stack).unlink(missing_ok=True)


def check(stack: Stack, name: str) -> Part:
    """Ask a part whether it works: the servers themselves, and Prefect's server about its workers."""
    try:
        process = supervisor(stack).supervisor.getProcessInfo(name)
    except (OSError, Fault):
        return Part(name, False, "not started")
    if process["statename"] != "RUNNING":
        return Part(name, False, process["spawnerr"] or process["statename"].lower())
    try:
        answer = _ask(stack, name)
    except (requests.RequestException, OSError) as error:
        return Part(name, False, f"runs, and does not answer: {type(error).__name__}")
    return Part(name, answer, process["description"] if answer else "runs, and is not ready")


def _ask(stack: Stack, name: str) -> bool:
    if name == "postgres":
        import psycopg2

        try:
            psycopg2.connect(stack.database("mlflow"), connect_timeout=int(ANSWER)).close()
        except psycopg2.OperationalError:
            return False
        return True
    if name == "mlflow":
        return requests.get(f"{stack.mlflow}/health", timeout=ANSWER).ok
    if name == "prefect":
        return requests.get(f"{stack.prefect}/api/health", timeout=ANSWER).ok
    workers = _prefect(stack, f"/work_pools/{POOL}/workers/filter")
    return any(worker["name"] == name and worker["status"] == "ONLINE" for worker in workers)


def _prefect(stack: Stack, path: str, **body: Any) -> Any:
    answer = requests.post(
        f"{stack.prefect}/api{path}", json=body, auth=(USER, stack.passwords.prefect), timeout=ANSWER
    )
    answer.raise_for_status()
    return answer.json()


def _cancel_runs(stack: Stack, tell: Tell) -> None:
    """Have the workers cancel what they run, and wait until they have, and have said so."""
    runs = _prefect(stack, "/flow_runs/filter", flow_runs={"state": {"type": {"any_": UNDER_WAY}}})
    for run in runs:
        tell(f"{run['name']} is cancelled; started again, it goes on from what it has left")
        _prefect(stack, f"/flow_runs/{run['id']}/set_state", state={"type": "CANCELLING", "name": "Cancelling"})
    deadline = time.monotonic() + STOPPING
    while runs and time.monotonic() < deadline:
        time.sleep(1)
        found = _prefect(stack, "/flow_runs/filter", flow_runs={"id": {"any_": [run["id"] for run in runs]}})
        # A process that is told to end says Crashed by itself, and its worker Cancelled after it.
        runs = [run for run in found if run["state_type"] != "CANCELLED"]
        if all(run["state_type"] not in UNDER_WAY for run in runs):
            deadline = min(deadline, time.monotonic() + LAST_WORD)


def supervisor(stack: Stack) -> Any:
    """Return what supervisord can be asked by; it answers OSError where it does not run."""
    from supervisor.xmlrpc import SupervisorTransport

    return ServerProxy(f"http://{HOST}", transport=SupervisorTransport(serverurl=f"unix://{control_socket(stack)}"))


def _answers(stack: Stack) -> bool:
    try:
        return bool(supervisor(stack).supervisor.getState()["statename"] == "RUNNING")
    except (OSError, Fault):
        return False


def _start(stack: Stack, name: str) -> None:
    try:
        supervisor(stack).supervisor.startProcess(name)
    except Fault as fault:
        if "ALREADY_STARTED" not in fault.faultString:
            raise GradusError(f"{name} did not start: {fault.faultString}\n{_end_of_log(stack, name)}") from fault


def _wait(true: Callable[[], bool], name: str, stack: Stack) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > deadline:
            raise GradusError(f"{name} does not answer after {PATIENCE:.0f} s\n{_end_of_log(stack, name)}")
        time.sleep(0.5)


def _wait_for(stack: Stack, name: str, tell: Tell) -> None:
    _wait(lambda: check(stack, name).healthy, name, stack)
    tell(f"{name} is up")


def _end_of_log(stack: Stack, name: str) -> str:
    log = stack.logs / f"{name}.log"
    lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
    return "\n".join([f"the end of {log}:", *lines[-SHOWN:]])


def _deploy(stack: Stack) -> None:
    root = Path(__file__).parents[2]
    command = [str(Path(sys.executable).parent / "gradus"), "deploy", "--file", str(root / "deploy/prefect.yaml")]
    environment = {**os.environ, **stack.client_environment(), "PREFECT_HOME": str(stack.folder / "prefect")}
    done = subprocess.run(command, cwd=root, env=environment, text=True, capture_output=True, check=False)
    if done.returncode:
        raise GradusError(f"`gradus deploy` failed: {done.stderr.strip()}")


def _needed() -> None:
    from importlib.util import find_spec

    if missing := [name for name in ("supervisor", "psycopg2", "flask_wtf") if not find_spec(name)]:
        raise ConfigError(
            f"{', '.join(missing)} cannot be imported: `pip install -c constraints.txt 'gradus[service]'`"
        )
    postgres.program("initdb")


def _free_ports(stack: Stack) -> None:
    for name, port in stack.settings.ports.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError as error:
                raise ConfigError(f"port {port} is taken: choose another one by --{name}-port") from error


def _processes(stack: Stack) -> list[psutil.Process]:
    """Return what the service has started and still runs, runs of workers among it, whoever is their parent now."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == str(stack.folder) and process.pid != os.getpid():
                found.append(process)
    return found
