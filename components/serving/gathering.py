"""Texts of requests that wait, classified together."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from components.core.errors import GradusError

Answer = TypeVar("Answer")


class TooManyWaiting(GradusError):
    """As many texts wait as may wait."""


class Gathering(Generic[Answer]):
    """Answers requests in threads of its own: all that have come while the ones before them were computed, at once."""

    def __init__(
        self,
        answer: Callable[[list[str]], Sequence[Answer]],
        most: int,
        queue: int,
        report: Callable[[int], object] = lambda _texts: None,
        workers: int = 1,
        begin: Callable[[], object] = lambda: None,
    ) -> None:
        """Take what answers texts, one answer each.

        Args:
            answer: answers some texts.
            most: texts that are answered at once, unless a single request has more.
            queue: texts that may wait; a single request that has more waits alone.
            report: told of how many texts have been answered at once.
            workers: threads that answer.
            begin: called by each of them first.
        """
        self.queue = queue
        self._answer, self._most, self._report, self._begin = answer, most, report, begin
        self._waiting: deque[tuple[list[str], Future[Sequence[Answer]]]] = deque()
        self._texts = 0
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [threading.Thread(target=self._run, name="gathering", daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """How many texts wait."""
        return self._texts

    @property
    def is_alive(self) -> bool:
        """Whether it still works."""
        return all(thread.is_alive() for thread in self._threads)

    def submit(self, texts: list[str]) -> "Future[Sequence[Answer]]":
        """Return the answers to come of a request; cancelled before its turn, it is never asked.

        Raises:
            TooManyWaiting: if too many texts wait already.
        """
        with self._changed:
            if self._waiting and self._texts + len(texts) > self.queue:
                raise TooManyWaiting(f"{self._texts:,} texts wait already, of {self.queue:,} that may; try again later")
            future: Future[Sequence[Answer]] = Future()
            self._waiting.append((texts, future))
            self._texts += len(texts)
            self._changed.notify()
        return future

    def close(self) -> None:
        """End the threads after what they are at; what waits is cancelled."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        for _, future in self._waiting:
            future.cancel()

    def _run(self) -> None:
        self._begin()
        while gathered := self._gather():
            asked = [text for texts, _ in gathered for text in texts]
            try:
                answers = self._answer(asked)
            except BaseException as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
                # A panic of a library in Rust is none of Python's exceptions, which a future's readers expect.
                heard = error if isinstance(error, Exception) else RuntimeError(str(error))
                for _, future in gathered:
                    future.set_exception(heard)
                continue
            self._report(len(asked))
            done = 0
            for texts, future in gathered:
                future.set_result(answers[done : done + len(texts)])
                done += len(texts)

    def _gather(self) -> "list[tuple[list[str], Future[Sequence[Answer]]]]":
        """Wait for requests, and take as many as go together; none where this is the end."""
        gathered: list[tuple[list[str], Future[Sequence[Answer]]]] = []
        while not gathered:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._waiting)
                if self._closed:
                    return []
                taken = 0
                while self._waiting and (not taken or taken + len(self._waiting[0][0]) <= self._most):
                    texts, future = self._waiting.popleft()
                    self._texts -= len(texts)
                    if future.set_running_or_notify_cancel():
                        gathered.append((texts, future))
                        taken += len(texts)
        return gathered
