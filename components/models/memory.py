"""How the C library deals with memory that was freed."""

from collections.abc import Iterator
from contextlib import contextmanager

from components.core.process_memory import glibc
from components.models.fast import uses

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Settings of glibc's allocator, as `malloc.h` numbers them; see mallopt(3)."""
NEVER = -1
TRIM_AT, MAPPED_AT_MOST = 128 * 1024, 65536
"""What glibc does by itself."""

_within: list[None] = []
"""One for each context that is open: a training asks for samples, and generation keeps memory as well."""


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Within it, memory that is freed is used again instead of going back to the system; where the library is glibc.

    A training step frees and asks for the same hundreds of megabytes again and again. By default glibc gives large
    blocks back at once, and the system clears every page of the next ones, which takes up to a third of a step.
    """
    library = glibc()
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
