"""Files and folders that outlast a power cut, locks that no process outlasts, and what processes have in use."""

import fcntl
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

MOST_IN_USE = 200
"""Files that one process keeps in use at a time, those that it asked for last: each takes a descriptor."""

in_use: "OrderedDict[Path, TextIO]" = OrderedDict()
"""What this process has in use, each file held open."""


def sync(path: Path) -> None:
    """Have a file, or a folder with all that is in it, on the disk itself and not in the system's memory only.

    Raises:
        OSError: if a file cannot be written, for example because the disk is full.
    """
    if path.is_dir():
        for each in path.iterdir():
            sync(each)
        sync_names(path)
    else:
        _sync(path)


def sync_names(folder: Path) -> None:
    """Have the names in a folder on the disk, after files were made, renamed or deleted in it."""
    with suppress(OSError):  # some network file systems cannot do it, and do not need it
        _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock that a file stands for, once whoever has it lets go; its folder is made if it is not there.

    `waiting` is called if somebody has it. The system takes it from a process that dies, however it dies, which a file
    that is there or not would outlast.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        os.utime(path)
        yield


def keep_in_use(path: Path) -> None:
    """Have a file count as in use (`unused`) until this process ends; nothing where it cannot be made or locked."""
    with suppress(OSError):
        if path not in in_use:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a")
            fcntl.flock(file, fcntl.LOCK_SH)
            in_use[path] = file
            os.utime(path)
        in_use.move_to_end(path)
        if len(in_use) > MOST_IN_USE:
            in_use.popitem(last=False)[1].close()


def last_use(path: Path) -> int:
    """Return when a file was last locked or taken into use: a number that changes with it, whatever the clock does."""
    return path.stat().st_mtime_ns if path.exists() else 0


@contextmanager
def unused(path: Path) -> Iterator[bool]:
    """Tell whether no process holds a file locked or in use; if so, none begins to before the block ends."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
