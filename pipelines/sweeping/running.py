"""Running what a sweep has to run: so many at once, and none of them stops the others."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from components.core.errors import GradusError
from pipelines.sweeping.rows import Child
from pipelines.sweeping.runners import Runner

POLL = 0.5
"""Seconds between looks at a run under way."""
INTERRUPTED = "interrupted"

Watch = Callable[[], bool]
"""Asked while a run is under way whether it is to be stopped."""


class Running:
    """Runs under way, which an interruption stops."""

    def __init__(self, runner: Runner, jobs: int) -> None:
        self.runner, self.jobs = runner, jobs
        self._stopped = threading.Event()

    def all(self, children: Sequence[Child], ended: Callable[[Child, str], None]) -> None:
        """Run all of these, and say of each that it ended and, if it failed, why.

        Raises:
            KeyboardInterrupt: if there was one; the runs under way are stopped first.
        """
        with ThreadPoolExecutor(self.jobs) as pool:
            under_way = {pool.submit(self.one, child): child for child in children}
            try:
                for each in as_completed(under_way):
                    ended(under_way[each], each.result())
            except BaseException:
                self.stop()
                pool.shutdown(cancel_futures=True)
                raise

    def one(self, child: Child, watch: Watch | None = None) -> str:
        """Run one; return in one line why it failed, nothing if it did not."""
        if self._stopped.is_set():
            return INTERRUPTED
        try:
            job = self.runner.start(child)
            while not job.wait(POLL):
                if self._stopped.is_set() or (watch and watch()):
                    job.stop()
                    return INTERRUPTED
            return job.failure()
        except (GradusError, OSError) as error:
            return str(error)

    def stop(self) -> None:
        """Stop what is under way, and begin nothing more."""
        self._stopped.set()
