"""Where the runs of a sweep are run: each in a process of this machine, or by the workers of a deployment.

Without a deployment it is processes and not flows within this process: what a training takes of memory can then be
measured, and is given back when it ends. Each is a flow run of its own all the same, on one Prefect server for all.
"""

import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from pipelines.child_process import start_child
from pipelines.sweeping.rows import Child

CHILD = "pipelines.cli.sweep_child"
"""The module that runs `gradus run` in a process that ends with the one that started it."""
STOPPING = 300.0
"""Seconds that a run gets to write a checkpoint and close its record before it is killed."""


class Job(Protocol):
    """A run under way."""

    def wait(self, seconds: float) -> bool:
        """Wait at most so long; tell whether it has ended."""

    def stop(self) -> None:
        """Have it end as Ctrl-C would."""

    def failure(self) -> str:
        """Say in one line why it failed; nothing if it did not. It has ended."""


class Runner(Protocol):
    """Runs the runs of a sweep."""

    here: bool
    """Whether on this machine."""

    def start(self, child: Child) -> Job:
        """Start a run."""


class Process:
    """A run in a process of its own, and the file in which it says what it does."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self._process, self._log = process, log

    def wait(self, seconds: float) -> bool:
        """Wait at most so long; tell whether it has ended."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self) -> None:
        """Tell the process to end; kill it if it does not."""
        self._process.send_signal(signal.SIGTERM)
        if not self.wait(STOPPING):
            self._process.kill()
            self._process.wait()

    def failure(self) -> str:
        """Return the error that it has printed, if it did not exit with 0."""
        if not self._process.returncode:
            return ""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        said = [line.removeprefix("gradus: ") for line in lines if line.startswith("gradus: ")]
        return said[-1] if len(said) > 1 else f"exit code {self._process.returncode}, see {self._log}"


class Processes:
    """Runs each run in a process of its own."""

    here = True

    def __init__(self, environment: Mapping[str, str], logs: Path) -> None:
        """Start nothing yet.

        Args:
            environment: of the processes.
            logs: a folder for what they say, a file each.
        """
        self._environment, self._logs = environment, logs

    def start(self, child: Child) -> Process:
        """Start a process that runs `gradus run`."""
        self._logs.mkdir(parents=True, exist_ok=True)
        log = self._logs / f"{child.identity}.log"
        sets = [word for each in child.overrides for word in ("--set", each)]
        with log.open("wb") as errors:
            arguments = ("-m", CHILD, "run", child.row.preset, *sets)
            return Process(start_child(*arguments, environment=self._environment, errors=errors), log)
