"""A real MLflow server that can be stopped, frozen and started again at the same address."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import requests

from tests.ports import free_port


class MlflowServer:
    """`mlflow server` on a free port, with a database and an artifact folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        place = (f"sqlite:///{self.folder}/server.db", "--artifacts-destination", str(self.folder / "artifacts"))
        options = ("--port", str(self.port), "--workers", "1", "--backend-store-uri", *place)
        environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        environment.pop("MLFLOW_TRACKING_URI", None)
        log = self.folder / "log"
        with log.open("a") as file:
            # A session of its own: the server starts workers, and all of them must end with it.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *options],
                stdout=file,
                stderr=file,
                env=environment,
                cwd=self.folder,
                start_new_session=True,
            )
        while True:
            assert self._process.poll() is None, log.read_text()
            try:
                if requests.get(f"{self.uri}/health", timeout=60).ok:
                    return
            except (requests.ConnectionError, requests.Timeout):  # not there yet, or busy with coming up
                time.sleep(0.3)

    @property
    def runs(self) -> bool:
        """Whether it was started and not stopped."""
        return self._process is not None

    def stop(self) -> None:
        """Kill it and all of its workers."""
        if self._process:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
            while self._listens():  # its workers may take a moment longer
                time.sleep(0.05)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def freeze(self) -> None:
        """Let it take connections and never answer."""
        assert self._process
        os.killpg(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process
        os.killpg(self._process.pid, signal.SIGCONT)
