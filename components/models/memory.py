"""How the C library deals with memory that was freed."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from components.models.fast import uses

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Settings of glibc's allocator, as `malloc.h` numbers them; see mallopt(3)."""
NEVER = -1
TRIM_AT, MAPPED_AT_MOST = 128 * 1024, 65536
"""What glibc does by itself."""
TUNABLES, THREAD_CACHE = "GLIBC_TUNABLES", "glibc.malloc.tcache_count"
"""The variable that glibc reads when a process starts, and in it the length of a thread's lists of small blocks; see
the GNU C Library's manual, "Memory Allocation Tunables"."""

_within: list[None] = []
"""One for each context that is open: a training asks for samples, and generation keeps memory as well."""


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Within it, memory that is freed is used again instead of going back to the system; where the library is glibc.

    A training step frees and asks for the same hundreds of megabytes again and again. By default glibc gives large
    blocks back at once, and the system clears every page of the next ones, which takes up to a third of a step.
    """
    library = _glibc()
    if library is None or not uses("kept memory"):
        yield
        return
    _within.append(None)
    library.mallopt(M_MMAP_MAX, 0)
    library.mallopt(M_TRIM_THRESHOLD, NEVER)
    try:
        yield
    finally:
        _within.pop()
        if not _within:
            library.mallopt(M_MMAP_MAX, MAPPED_AT_MOST)
            library.mallopt(M_TRIM_THRESHOLD, TRIM_AT)
            library.malloc_trim(0)


def give_freed_back() -> None:
    """Give freed memory back after all, once: where what was freed will not be asked for again in that size."""
    if library := _glibc():
        library.malloc_trim(0)


def reexec_without_tcache() -> None:
    """Start this process over without glibc's lists of small blocks a thread, unless they are spoken of already.

    PyTorch asks for memory at multiples of 64 bytes: glibc takes a block 96 bytes larger, and frees what is left
    over beside it. A thread's list keeps these scraps and hands them out again, so that large blocks that are freed do
    not grow together: there is ever less room for the next tensor of that size, and a training takes a third more
    memory, of which the system clears every page.

    To be called before anything else: a process keeps its number, its arguments and its environment, and nothing that
    it has done.
    """
    said = os.environ.get(TUNABLES, "")
    if THREAD_CACHE in said or _glibc() is None:
        return
    os.environ[TUNABLES] = f"{said}:{THREAD_CACHE}=0".lstrip(":")
    os.execv(sys.executable, sys.orig_argv)


def _glibc() -> ctypes.CDLL | None:
    """Return the C library, or None if it is another: those have no such settings."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if hasattr(library, "mallopt") else None
