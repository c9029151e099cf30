"""What is done to a process that runs `gradus` before it begins: little memory, a full disk, others to wait for."""

import os
import resource
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from components.core.records import Facts, Manifest
from tests.patience import eventually

SPARE = "SPARE_MEMORY"
"""Variable: `STEP:MEGABYTES`, how much more memory the process gets from the beginning of a step on."""

FULL_IN, FILLER = "FULL_IN", "FILLER"
"""Variables: the step in which the disk is full, and the file that fills it."""
SHARED, NOTES = "SHARED_STEP", "NOTES"
"""Variables: `STEP:OTHERS`, what several processes need and how many wait for one; and where they note it."""


def limit_memory() -> None:
    """Give a step only so much more address space than the process has by then."""
    from components.core.store import Store

    step, megabytes = os.environ[SPARE].split(":")
    produce = Store.produce

    def limited(store: Store, name: str, key: str, write: Callable[[Path], Facts]) -> Manifest:
        def write_with_little(out: Path) -> Facts:
            if name != step:
                return write(out)
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            room = pages * resource.getpagesize() + int(megabytes) * 1_000_000
            resource.setrlimit(resource.RLIMIT_AS, (room, resource.RLIM_INFINITY))
            try:
                return write(out)
            finally:
                resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

        return produce(store, name, key, write_with_little)

    Store.produce = limited  # type: ignore[method-assign]


def fill_disk() -> None:
    """Leave the disk of the store no room once a step begins."""
    from components.core.store import Store

    produce = Store.produce

    def filled(store: Store, name: str, key: str, write: Callable[[Path], Facts]) -> Manifest:
        def write_on_a_full_disk(out: Path) -> Facts:
            if name == os.environ[FULL_IN]:
                with suppress(OSError), Path(os.environ[FILLER]).open("wb", buffering=0) as file:
                    while file.write(bytes(4096)):
                        pass
            return write(out)

        return produce(store, name, key, write_on_a_full_disk)

    Store.produce = filled  # type: ignore[method-assign]


def wait_for_others() -> None:
    """Let who computes a step first go on when as many others as are to come wait for it; count who computes."""
    from components.core import store as stores

    step, others = os.environ[SHARED].split(":")
    folder, me = Path(os.environ[NOTES]), os.getpid()
    produce, warn = stores.Store.produce, stores.log.warning

    def count(what: str) -> int:
        return len(list(folder.glob(f"{what}-*")))

    def noted(message: str, *arguments: object) -> None:
        if (message, *arguments) == ("%s: waiting for another run that computes it", step):
            (folder / f"waits-{me}").touch()
        warn(message, *arguments)

    def counted(store: stores.Store, name: str, key: str, write: Callable[[Path], Facts]) -> Manifest:
        def write_when_others_wait(out: Path) -> Facts:
            if name == step:
                (folder / f"computes-{me}").touch()
                eventually(lambda: count("waits") == int(others) or count("computes") > 1)
            return write(out)

        return produce(store, name, key, write_when_others_wait)

    stores.log.warning = noted  # type: ignore[method-assign,assignment]
    stores.Store.produce = counted  # type: ignore[method-assign]
