"""Running what a sweep has to run: so many at once, and none of them stops the others."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from components.core.errors import GradusError
from pipelines.sweeping.rows import Child
from pipelines.sweeping.runners import Runner

POLL = 0.5
"""Seconds between looks at a run under way."""
INTERRUPTED, PRUNED = "interrupted", "stopped early"
"""Why a run was stopped: all of them, or this one by whoever watched it."""

Watch = Callable[[], bool]
"""Asked while a run is under way whether it is to be stopped."""


class Running:
    """Runs under way, which an interruption stops."""

    def __init__(self, runner: Runner, jobs: int) -> None:
        self.runner, self.jobs = runner, jobs
        self._stopped = threading.Event()

    def all(self, tasks: Sequence[Callable[[], str]], ended: Callable[[int, str], None]) -> None:
        """Do all of these, so many at once; say of each, by its number, that it ended and, if it failed, why.

        Raises:
            KeyboardInterrupt: if there was one; what is under way is stopped first.
        """
        with ThreadPoolExecutor(self.jobs) as pool:
            under_way = {pool.submit(task): number for number, task in enumerate(tasks)}
            try:
                for each in as_completed(under_way):
                    ended(under_way[each], each.result())
            except BaseException:
                self._stopped.set()
                pool.shutdown(cancel_futures=True)
                raise

    def one(self, child: Child, watch: Watch | None = None) -> str:
        """Run one; return in one line why it failed or was stopped, nothing if it came to its end."""
        if self._stopped.is_set():
            return INTERRUPTED
        try:
            job = self.runner.start(child)
            while not job.wait(POLL):
                if self._stopped.is_set():
                    job.stop()
                    return INTERRUPTED
                if watch and watch():
                    job.stop()
                    return PRUNED
            return job.failure()
        except (GradusError, OSError) as error:
            return str(error)
