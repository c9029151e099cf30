"""The temporary Prefect server of a run, started before anything else and waited for last.

Prefect starts one by itself for whoever has named none, but does so when the flow begins, imports the whole server into
the flow's process for it, and then waits; it asks nobody for a password, answers any web page, and goes on after a
`kill -9` of its parent. This one starts while the flow is imported, and there is time to do more.
"""

import atexit
import os
import re
import secrets
import socket
import subprocess
import tempfile
import time
from typing import IO

from components.core.errors import GradusError
from pipelines.child_process import start_child
from pipelines.cli.prefect_server.child import LOOPBACK, hosts

QUIET = {
    "PREFECT_UI_ENABLED": "0",
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT__SERVER_FINAL": "1",
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",  # a server with pages does it when it starts
}
"""What Prefect's own temporary server is set to as well: no pages, and only the services that record what happens."""
POLL = 0.05  # seconds
STOPPING = 5.0
"""Seconds that a server gets to stop before it is killed."""
REASON = 300
"""Characters of what the last error of a server that ended."""
ERROR = re.compile(r"[\w.]+(Error|Exception)\b")
"""The line of a traceback that says what was wrong."""


class TemporaryServer:
    """A Prefect server on a free port of this machine, with the database that is in PREFECT_HOME and a new password."""

    def __init__(self) -> None:
        """Start the process, and point Prefect to it from now on. It is stopped when this process ends."""
        from prefect.context import refresh_global_settings_context
        from prefect.settings import get_current_settings

        password = f"gradus:{secrets.token_urlsafe(32)}"
        # A file without a name: what the server says of errors is kept while one of the two processes has it open.
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the server
        with socket.socket() as free:
            free.bind((LOOPBACK, 0))
            port = int(free.getsockname()[1])
            # The password is in the environment alone, which nobody but this user can read.
            environment = {
                **os.environ,
                **QUIET,
                **get_current_settings().to_environment_variables(exclude_unset=True, include_secrets=True),
                "PREFECT_SERVER_API_AUTH_STRING": password,
                "PREFECT_SERVER_API_BASE_PATH": "/api",
                "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": ",".join(f"http://{host}" for host in sorted(hosts(port))),
            }
            arguments = ("-m", "pipelines.cli.prefect_server.child", str(free.fileno()))
            self._process = start_child(
                *arguments, environment=environment, descriptors=[free.fileno()], errors=self._errors
            )
        self._address = f"http://{LOOPBACK}:{port}/api"
        # Not at the flow's end: what Prefect has still to send, logs and events, it sends when Python ends.
        atexit.register(self._stop)
        # Processes that this one starts hear of the address, not of the password.
        before = os.environ.get("PREFECT_API_AUTH_STRING")
        os.environ |= {"PREFECT_API_URL": self._address, "PREFECT_API_AUTH_STRING": password}
        refresh_global_settings_context()
        del os.environ["PREFECT_API_AUTH_STRING"]
        if before is not None:
            os.environ["PREFECT_API_AUTH_STRING"] = before

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
                    pass
                time.sleep(POLL)
        code = self._process.poll()
        what = (
            f"did not answer within {patience:g} s" if code is None else f"ended with code {code}{self._last_error()}"
        )
        advice = " (PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS gives it more time)" if code is None else ""
        raise GradusError(
            f"the temporary Prefect server {what}; try again{advice}, or start one with `prefect server start` and "
            "name it in PREFECT_API_URL"
        )

    def _last_error(self) -> str:
        self._errors.seek(0)
        lines = [line for line in self._errors.read().decode(errors="replace").split("\n") if line.strip()]
        errors = [line for line in lines if ERROR.match(line)] or lines
        return f" ({' '.join(errors[-1].split())[:REASON]})" if errors else ""

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
