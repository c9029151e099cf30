"""Processes that end with the one that started them.

A child's standard input is a pipe whose other end only its parent holds. When the parent is gone, `kill -9` and crashes
included, the system closes that end, and the child reads the end of the file: on Linux and on macOS alike, whichever
thread started it, and without a gap between its start and its watch.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import IO

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
