"""How long a test waits for another process, or lets a block of ours wait."""

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE = 1800
"""Seconds: what catches a hang, on the busiest machine; pytest's own limit is the same."""
LOCKED = PATIENCE
"""Seconds that a database is waited for while another thread or process writes to it."""

Answer = TypeVar("Answer")


def eventually(ask: Callable[[], Answer]) -> Answer:
    """Ask until the answer is not empty, and return it; fail where that takes too long."""
    deadline = time.monotonic() + PATIENCE
    while not (answer := ask()):
        assert time.monotonic() < deadline, "nothing has come"
        time.sleep(0.2)
    return answer
