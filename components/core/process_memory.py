"""The memory of a process: the most that it has held, and what its C library keeps of what was freed."""

import ctypes
import resource
import sys
from pathlib import Path


def peak_memory() -> int:
    """Return the most bytes of memory that this process has held at one time since its program started.

    Linux keeps the figure as `VmHWM`: that of `getrusage` begins with what the process had that started this one.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        lines = status.read_text().splitlines()
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS, kilobytes elsewhere
    return held if sys.platform == "darwin" else held * 1024


def glibc() -> ctypes.CDLL | None:
    """Return the C library, or None if it is another: those have no such settings."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if hasattr(library, "mallopt") else None


def give_freed_back() -> None:
    """Give freed memory back to the system, once: where what was freed will not be asked for again in that size."""
    if library := glibc():
        library.malloc_trim(0)
