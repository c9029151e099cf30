"""Load on a server: clients that ask, what they saw, and the servers that they ask."""

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any

from benchmarks.report import Figure

Check = Callable[[Any], bool]
"""Whether an answer is the one of offline."""


@dataclass
class Load:
    """What clients saw."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    unequal: int = 0

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.latencies) / self.seconds

    def percentile(self, share: int) -> float:
        """Return the latency that so many of 100 requests do not exceed, in ms."""
        return 1000 * quantiles(self.latencies, n=100, method="inclusive")[share - 1]

    def figures(self, what: str, exact: bool) -> list[Figure]:
        """Return the figures of a run, in which all answers had to be those of offline if they are `exact`."""
        equal = 100 * (1 - self.unequal / len(self.latencies))
        return [
            Figure(f"{what}: throughput", [self.rate], unit="requests/s", more_is_better=True),
            Figure(f"{what}: p50", [self.percentile(50)], unit="ms"),
            Figure(f"{what}: p99", [self.percentile(99)], unit="ms"),
            Figure(f"{what}: errors", [len(self.errors)], must=0 if exact else None, unit="requests"),
            Figure(f"{what}: as offline", [equal], must=100 if exact else None, unit="%", more_is_better=True),
        ]


@dataclass(frozen=True)
class Question:
    """A request, and whether an answer is the offline one."""

    path: str
    body: bytes
    check: Check


def loaded(port: int, questions: Sequence[Question], clients: int, seconds: float) -> Load:
    """Let clients ask a server for some seconds; a client that has begun then waits for its answer."""
    found, lock, start = Load(), threading.Lock(), threading.Barrier(clients + 1)

    def work(first: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        start.wait()
        number = first
        while time.perf_counter() < end:
            ask(connection, questions[number % len(questions)], found, lock)
            number += clients

    end = float("inf")
    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    begun = time.perf_counter()
    end = begun + seconds
    start.wait()
    for thread in threads:
        thread.join()
    found.seconds = time.perf_counter() - begun
    return found


def ask(connection: http.client.HTTPConnection, question: Question, found: Load, lock: threading.Lock) -> None:
    """Ask once, and note what came of it."""
    begun = time.perf_counter()
    connection.request("POST", question.path, question.body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    body = response.read()
    took = time.perf_counter() - begun
    with lock:
        if response.status != 200:
            found.errors.append(f"{response.status}: {body[:200]!r}")
            return
        found.latencies.append(took)
        found.unequal += not question.check(json.loads(body))


@contextmanager
def serving(*command: str, ready: str, port: int) -> Iterator[int]:
    """Start a server, give its port once it is ready, and stop it at the end."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with Path(os.devnull).open("w") as nowhere:
        process = subprocess.Popen(
            [sys.executable, *command], stdout=nowhere, stderr=nowhere, start_new_session=True,
            env={**os.environ, "PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true"},
        )  # fmt: skip
    try:
        while not _answers(port, ready):
            if process.poll() is not None:
                raise RuntimeError(f"{' '.join(command)} ended with code {process.returncode}")
            time.sleep(0.2)
        yield port
    finally:
        os.killpg(process.pid, 15)
        process.wait()


def _answers(port: int, path: str) -> bool:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False


def gradus(model: str | Path, name: str) -> AbstractContextManager[int]:
    """Serve a model by `gradus serve`."""
    port = free_port()
    start = ("-c", "from pipelines.cli.start import main; main()")
    command = (*start, "serve", str(model), "--name", name, "--port", str(port))
    return serving(*command, ready="/ready", port=port)


def mlflow(model: Path) -> AbstractContextManager[int]:
    """Serve a logged model by `mlflow models serve`."""
    port = free_port()
    command = ("-m", "mlflow", "models", "serve", "--env-manager", "local", "-m", str(model), "-p", str(port))
    return serving(*command, ready="/ping", port=port)


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
