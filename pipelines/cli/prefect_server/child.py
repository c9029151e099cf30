"""The temporary Prefect server's process: ends with the one that started it, and answers nobody but its own client.

A child's standard input is a pipe whose other end only its parent holds. When the parent is gone, `kill -9` and crashes
included, the system closes that end, and the child reads the end of the file: on Linux and on macOS alike, whichever
thread started it, and without a gap between its start and its watch.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import IO

from components.core.only_from import OnlyFrom

LOOPBACK = "127.0.0.1"
GRACE = 5.0
"""Seconds that a process whose parent is gone has to stop by itself."""


def start_child(
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    descriptors: Sequence[int] = (),
    errors: IO[bytes] | None = None,
) -> "subprocess.Popen[bytes]":
    """Start Python with `arguments`; it has to call `end_with_parent`, and lives while the returned object does.

    It holds nothing of this process open: its output goes nowhere, and what it says of errors to `errors`. A terminal
    sends Ctrl-C to all processes of a command; this one has a session of its own and is out of reach.
    """
    return subprocess.Popen(
        # -P: the folder that one stands in may hold a package of the same name.
        [sys.executable, "-P", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=errors or subprocess.DEVNULL,
        env=environment,
        pass_fds=descriptors,
        start_new_session=True,
    )


def end_with_parent() -> None:
    """Let this process, which `start_child` started, end as soon as its parent is gone."""
    threading.Thread(target=_end_after_input, daemon=True).start()


def _end_after_input() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(1)


def serve(descriptor: int) -> None:
    """Serve Prefect's API on a socket that is bound to the loopback interface, until told to stop.

    What else there is to say, password and database among it, the environment says.
    """
    end_with_parent()
    bound = socket.socket(fileno=descriptor)
    port = bound.getsockname()[1]
    import uvicorn
    from prefect.server.api.server import create_app

    app = OnlyFrom(create_app(), hosts(port))
    config = uvicorn.Config(app, lifespan="on", log_level="error")
    server = uvicorn.Server(config)
    server.run(sockets=[bound])
    if not server.started:
        sys.exit(1)


def hosts(port: int) -> frozenset[str]:
    """Return the values of the header Host by which this machine's own client asks."""
    return frozenset({f"{LOOPBACK}:{port}", f"localhost:{port}"})


if __name__ == "__main__":
    serve(int(sys.argv[1]))
