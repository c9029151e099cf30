"""The most memory that a process has held."""

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
