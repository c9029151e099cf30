"""A disk that is full, or memory that ran out, whichever library notices it first, as one line."""

import errno
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path

from components.core.errors import GradusError, NoRoom, OutOfMemory, causes

FULL = {errno.ENOSPC, errno.EDQUOT}
DISK_FULL = re.compile(
    r"no space left on device|not enough space on the disk|disk quota exceeded|\bos error (28|122)\b|disk is full",
    re.IGNORECASE,
)
"""How libraries that lose the number of the error say it: Arrow, safetensors and others in Rust, SQLite, servers."""
TIGHT = 100_000
"""Bytes: a disk that has no more is full, whatever the error says."""
LITTLE = 10_000_000
"""Bytes: what is asked for where nothing says how much it would have been."""
NO_MEMORY = re.compile(
    r"out of memory|not enough memory|(can't|cannot|unable to|failed to) allocate|std::bad_alloc|\bos error 12\b",
    re.IGNORECASE,
)
"""How libraries say it that raise no MemoryError: PyTorch on a CPU and on GPUs, CUDA, oneDNN, libraries in Rust."""
ASKED_FOR = re.compile(r"(?:tried|trying|unable) to allocate (\d[\d.,]* ?(?:[kmgtp]i?b|bytes))", re.IGNORECASE)
"""How much PyTorch and NumPy say that they asked for."""


def is_full(error: BaseException | None) -> bool:
    """Tell whether an error, or one that it came from, says that a disk is full."""
    return any(
        isinstance(each, NoRoom) or getattr(each, "errno", None) in FULL or DISK_FULL.search(str(each))
        for each in causes(error)
    )


@contextmanager
def disk_full_as_a_line(draft: Path) -> Iterator[None]:
    """Turn what any library says of a full disk while it writes a step's result into one line.

    How much is needed nobody knows before it is written: as much as the largest result that the step has beside, or
    twice what there is so far.

    Args:
        draft: where the result is written; earlier ones stand beside it.

    Raises:
        NoRoom: instead of that error, with the evidence that it has kept.
    """
    try:
        yield
    except Exception as error:
        # A library that does not say why it could not write, such as PyTorch, is most likely on a disk that is full.
        tight = not isinstance(error, GradusError) and _free(draft) < TIGHT
        if isinstance(error, NoRoom) or not (is_full(error) or tight):
            raise
        needed = max(2 * size_of(draft), LITTLE, *(size_of(each) for each in draft.parent.iterdir()))
        raise NoRoom(describe_full(error, draft.parent, needed), getattr(error, "evidence", None)) from error


def describe_full(error: BaseException, folder: Path, needed: int = LITTLE) -> str:
    """Return the line for an error that says that a disk is full, most likely that of `folder`."""
    places = [path for path in (*_named(error), folder, Path(tempfile.gettempdir())) if _free(path) < needed]
    if not places:  # it is another disk, such as a server's
        text = " ".join(str(error).split())
        return f"no room left in another place than {folder}, needs about {_readable(needed)}: {text}; make room there"
    place = folder if folder in places and places[0].is_relative_to(folder) else places[0]
    return no_room_left(place, needed)


def require_room(folder: Path, needed: int) -> None:
    """Find out before `needed` bytes are written into `folder`, which need not be there, that they have no room.

    Raises:
        NoRoom: if they have none.
    """
    if _free(folder) < needed:
        raise NoRoom(no_room_left(folder, needed))


def no_room_left(folder: Path, needed: int = LITTLE) -> str:
    """Return the line for whoever has to make room."""
    return (
        f"no room left in {folder}, needs about {_readable(needed)} and has {_readable(_free(folder))}: make room "
        "there (`gradus gc` lists what nothing needs), or set GRADUS_HOME (TMPDIR for temporary files) to a folder on "
        "a larger disk"
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error, or one that it came from, says that this process got no memory.

    What a server says of its own memory, which arrives as an error of Gradus, does not count.
    """
    return any(
        isinstance(each, MemoryError | OutOfMemory)
        or getattr(each, "errno", None) == errno.ENOMEM
        or (not isinstance(each, GradusError) and NO_MEMORY.search(str(each)))
        for each in causes(error)
    )


@contextmanager
def out_of_memory_as_a_line(step: str, advice: str) -> Iterator[None]:
    """Turn what any library says of memory that ran out in a step into one line with `advice` at its end.

    Raises:
        OutOfMemory: instead of that error, with the evidence that it has kept.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, GradusError) or not is_out_of_memory(error):
            raise
        evidence = next((found for each in causes(error) if (found := getattr(each, "evidence", None))), None)
        raise OutOfMemory(f"{step}: {describe_out_of_memory(error)}: {advice}", evidence) from error


def describe_out_of_memory(error: BaseException) -> str:
    """Return what happened in a few words, with how much was asked for where the library says so."""
    asked = next((match[1] for each in causes(error) if (match := ASKED_FOR.search(str(each)))), None)
    return f"out of memory (it asked for another {asked})" if asked else "out of memory"


def size_of(place: Path) -> int:
    """Return the bytes of the files in a folder, or of a file."""
    return sum(file.st_size for file in files_in(place))


def files_in(place: Path) -> Iterator[os.stat_result]:
    """Yield what the system knows of each file in a folder, or of a file, but for links to others.

    What goes away meanwhile is passed over: others work in a home.
    """
    walked = (Path(folder, name) for folder, _, names in os.walk(place) for name in names)
    for path in chain([place], walked):
        with suppress(OSError):
            if stat.S_ISREG((file := path.lstat()).st_mode):
                yield file


def _named(error: BaseException | None) -> Iterator[Path]:
    """Yield the folders of the files that an error names: of a copy where it goes to, then where it comes from."""
    for each in causes(error):
        for name in (getattr(each, "filename2", None), getattr(each, "filename", None)):
            path = Path(os.fsdecode(name)) if isinstance(name, (str, bytes, Path)) else Path()
            if path.is_absolute():
                yield path.parent


def _free(folder: Path) -> int:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(there).free


def _readable(size: int) -> str:
    unit, one = ("GB", 1e9) if size >= 1e9 else ("MB", 1e6) if size >= 1e6 else ("kB", 1e3)
    return f"{size / one:,.1f} {unit}"
