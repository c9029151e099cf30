"""Where `gradus` starts, before anything large is imported."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

USAGE_ERROR = 2
TUNABLES, THREAD_CACHE = "GLIBC_TUNABLES", "glibc.malloc.tcache_count"
"""The variable that glibc reads when a process starts, and in it the length of a thread's lists of small blocks; see
the GNU C Library's manual, "Memory Allocation Tunables"."""
SPINS, WAIT_POLICY = "GOMP_SPINCOUNT", "OMP_WAIT_POLICY"
"""Variables of GNU's OpenMP: how often a thread that waits for others looks before it sleeps; either says it."""
SPIN_COUNT = 1000
"""Microseconds instead of milliseconds (300,000 by default)."""


def main() -> None:
    """Run the command line in a process whose memory suits training."""
    if sys.platform == "win32":
        sys.stderr.write("gradus: Windows is not supported: install and start it in WSL, Windows's Linux\n")
        sys.exit(USAGE_ERROR)
    # Where a package `components` that is not Gradus's stands in front of it; nothing is imported for that.
    ours, found = Path(__file__).resolve().parents[2] / "components" / "__init__.py", find_spec("components")
    other = found.origin if found else None
    if other and Path(other).resolve() != ours:
        sys.stderr.write(
            f"gradus: {other} hides Gradus's own package `components`: start gradus where that folder does not come "
            "first (see PYTHONPATH and the working directory), or give that package another name\n"
        )
        sys.exit(USAGE_ERROR)
    from components.core.home import keep_files_private

    reexec_tuned()
    keep_files_private()
    from pipelines.cli.main import main as run

    run()


def reexec_tuned() -> None:
    """Start this process over with what libraries read once, when they are loaded, unless it is said already.

    glibc: without a thread's lists of small blocks. PyTorch asks for memory at multiples of 64 bytes: glibc takes a
    block 96 bytes larger, and frees what is left over beside it. The list keeps these scraps and hands them out again,
    so that large blocks that are freed do not grow together: there is ever less room for the next tensor of that size,
    and a training takes a third more memory, of which the system clears every page.

    OpenMP: threads that wait go to sleep soon. By default they spin, on the core that another program has left them and
    that the thread they wait for would need: beside one busy program a training takes three times as long.

    To be called before anything else: a process keeps its number, its arguments and its environment, and nothing that
    it has done.
    """
    if sys.platform != "linux":
        return
    before = dict(os.environ)
    said = before.get(TUNABLES, "")
    if THREAD_CACHE not in said:
        os.environ[TUNABLES] = f"{said}:{THREAD_CACHE}=0".lstrip(":")
    if WAIT_POLICY not in before:
        os.environ.setdefault(SPINS, str(SPIN_COUNT))
    if before != dict(os.environ):
        os.execv(sys.executable, sys.orig_argv)
