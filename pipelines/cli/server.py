"""The temporary Prefect server of a run, started before anything else and waited for last.

Prefect starts one by itself for whoever has named none, but does so when the flow begins, imports the whole server into
the flow's process for it, and then waits. This one starts while the flow is imported, and there is time to do more.
"""

import atexit
import os
import signal
import socket
import subprocess
import sys
import time

from components.errors import GradusError

QUIET = {
    "PREFECT_UI_ENABLED": "0",
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT__SERVER_FINAL": "1",
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",  # a server with pages does it when it starts
}
"""What Prefect's own temporary server is told as well: no pages, and only the services that record what happens."""
POLL = 0.05  # seconds
STOPPING = 5.0
"""Seconds that a server gets to stop before it is killed."""


class TemporaryServer:
    """A Prefect server on a free port of this machine, with the database that is in PREFECT_HOME."""

    def __init__(self) -> None:
        """Start the process, and point Prefect to it from now on. It is stopped when this process ends."""
        from prefect.context import refresh_global_settings_context

        self._address = f"http://127.0.0.1:{(port := _free_port())}/api"
        self._process = _start(port)
        # Not at the flow's end: what Prefect has still to send, logs and events, it sends when Python ends.
        atexit.register(self._stop)
        os.environ["PREFECT_API_URL"] = self._address
        refresh_global_settings_context()

    def wait(self) -> None:
        """Wait until the server answers.

        Raises:
            GradusError: if it has ended, or does not answer in the time that Prefect's settings give it.
        """
        import httpx
        from prefect.settings import PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS

        patience = PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS.value()
        deadline = time.monotonic() + patience
        with httpx.Client(trust_env=False) as client:  # no proxy can reach this machine's own ports
            while time.monotonic() < deadline and self._process.poll() is None:
                try:
                    if client.get(f"{self._address}/health").is_success:
                        return
                except httpx.TransportError:
                    time.sleep(POLL)
        code = self._process.poll()
        what = f"did not answer within {patience:g} s" if code is None else f"ended with code {code}"
        raise GradusError(
            f"the temporary Prefect server {what}; try again, or start one with `prefect server start` and name it in "
            "PREFECT_API_URL"
        )

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOPPING)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def temporary_server() -> TemporaryServer | None:
    """Start a temporary Prefect server, unless Prefect's settings name one or forbid it."""
    from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_ALLOW_EPHEMERAL_MODE

    if PREFECT_API_URL.value() or not PREFECT_SERVER_ALLOW_EPHEMERAL_MODE.value():
        return None
    return TemporaryServer()


def _start(port: int) -> "subprocess.Popen[bytes]":
    """Start the process so that Ctrl-C does not stop it before the flow.

    A terminal sends SIGINT to all processes of a command. Those that start while it is blocked keep it blocked, so the
    server lives until the flow has reported its end, and is then stopped with SIGTERM.
    """
    from prefect.settings import get_current_settings

    application = ("--factory", "prefect.server.api.server:create_app", "--lifespan", "on")
    place = ("--host", "127.0.0.1", "--port", str(port))
    command = (sys.executable, "-m", "uvicorn", *application, *place, "--log-level", "error")
    environment = {**os.environ, **QUIET, **get_current_settings().to_environment_variables(exclude_unset=True)}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return subprocess.Popen(command, env=environment)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
