"""`gradus`, to which something happens: it waits where a test will hit it. Started as a process, with `-m`."""

import importlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.core.records import Facts, Manifest
from tests.patience import PATIENCE

WAIT_IN = "WAIT_IN"
"""Variable: `STEP:begun` or `STEP:written`, where in a step to wait: before its block is called, or when that has
written everything, but nothing is published."""
WAIT_AT = "WAIT_AT"
"""Variable: `MODULE:NAME:NUMBER`, before which call of which function to wait."""
CALL = "CALL"
"""Variable: `MODULE:NAME`, a function of the tests that is called before anything else."""
REACHED = "REACHED"
"""Variable: the file that says that the process is there and waits."""
GO_ON = ".go"
"""Suffix of the file beside it that lets the process go on."""


def wait() -> None:
    """Say that the process is where it was meant to be hit, and wait for that, or until it may go on."""
    here = Path(os.environ[REACHED])
    here.touch()
    deadline = time.monotonic() + PATIENCE
    while not here.with_suffix(GO_ON).exists() and time.monotonic() < deadline:
        time.sleep(0.05)


def wait_in(step: str, moment: str) -> None:
    """Wait in a step."""
    from components.core.store import Store

    produce = Store.produce

    def waiting(store: Store, name: str, key: str, write: Callable[[Path], Facts]) -> Manifest:
        def write_and_wait(out: Path) -> Facts:
            if (name, moment) == (step, "begun"):
                (out / "half").write_text("...")
                wait()
            facts = write(out)
            if (name, moment) == (step, "written"):
                wait()
            return facts

        return produce(store, name, key, write_and_wait)

    Store.produce = waiting  # type: ignore[method-assign]


def wait_at(module: str, name: str, number: int) -> None:
    """Wait before a call."""
    owner = importlib.import_module(module)
    *path, name = name.split(".")
    for each in path:
        owner = getattr(owner, each)
    whole, calls = getattr(owner, name), 0

    def waiting(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            wait()
        return whole(*arguments, **named)

    setattr(owner, name, waiting)


def main() -> None:
    """Run `gradus` with what the variables say."""
    # A shell starts what runs in its background with SIGINT ignored, and the tests may run there.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if called := os.environ.get(CALL):
        module, name = called.split(":")
        getattr(importlib.import_module(module), name)()
    if place := os.environ.get(WAIT_IN):
        wait_in(*place.split(":"))
    if place := os.environ.get(WAIT_AT):
        module, name, number = place.split(":")
        wait_at(module, name, int(number))
    from pipelines.cli.start import main as gradus

    gradus()


if __name__ == "__main__":
    main()
