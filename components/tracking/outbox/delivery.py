"""The thread that sends what a run writes down, beside what the run does: no outage delays or loses a training."""

import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.core.errors import TrackingError
from components.tracking.outbox.journal import Outbox
from components.tracking.outbox.sending import POINTS_A_CALL, Prepare, Sender
from components.tracking.stores import StoreAway, why_away, without_password

COLLECT_SECONDS = 5.0
"""Seconds after which points are sent though fewer than a call takes came, so that curves grow while one looks."""
PATIENCE = 5.0
"""Seconds without progress after which whoever waits asks whether the store answers at all."""
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Seconds between attempts while the store is away; the last one again and again."""

log = logging.getLogger(__name__)


class Delivery(Sender):
    """Sends an outbox in a thread of its own, in order. Safe to use from several threads.

    Who appends an operation may wait for it. That ends when the operation has arrived, when the store says no, or as
    soon as it turns out that the store is away, and then nobody waits any more until it answers again.
    """

    def __init__(self, outbox: Outbox, home: Path, prepare: Prepare | None = None) -> None:
        """Start the thread, which has the outbox's lock; it ends with `finish`, at the latest with the process."""
        super().__init__(outbox, home, prepare)
        self.away = ""
        """Why the store is away, if it is."""
        self._written = outbox.size
        self._points = 0
        self._urgent = False
        self._finished = False
        self._attempts = 0
        self._awaited: set[int] = set()
        self._refused: dict[int, TrackingError] = {}
        self._singly = 0
        """The position up to which points are sent one operation at a time, since one of them was refused."""
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="gradus-tracking", daemon=True)
        self._thread.start()

    def append(self, operation: Mapping[str, Any], wait: bool) -> dict[str, Any]:
        """Write an operation down to be sent.

        Args:
            operation: what `components.tracking.outbox.sending` understands.
            wait: return only when it has arrived, unless the store is away.

        Returns:
            What the outbox knows of the run once it has arrived; nothing if it is not waited for.

        Raises:
            TrackingError: if it is waited for and the store says no, or if it cannot be written down.
        """
        with self._changed:
            self._written = position = self.outbox.append(operation)
            self._points += len(operation["values"]) if operation["op"] == "metrics" else 0
            self._awaited |= {position} if wait else set()
            if self._points >= POINTS_A_CALL:
                self._urgent = True
                self._changed.notify_all()
        if not wait:
            return {}
        arrived = self._wait(position)
        self._awaited.discard(position)
        if refused := self._refused.pop(position, None):
            raise refused
        return self.outbox.state if arrived else {}

    @property
    def waits(self) -> bool:
        """Whether something is kept that the store has not got."""
        return self.outbox.position < self._written

    def flush(self) -> bool:
        """Wait until the store has all that it was given; false if it is away."""
        return self._wait(self._written)

    def finish(self) -> bool:
        """Try to send what is left, once more if the store was away, and end the thread; tell whether all arrived."""
        arrived = self._wait(self._written, once_more=True)
        self.stop()
        if arrived:
            self._thread.join()
            self.outbox.remove()
        return arrived

    def stop(self) -> None:
        """End the thread after what it is sending now."""
        with self._changed:
            self._finished = True
            self._changed.notify_all()

    def _wait(self, position: int, once_more: bool = False) -> bool:
        with self._changed:
            self._urgent, first = True, self._attempts
            self._changed.notify_all()
        while True:
            with self._changed:
                if self.outbox.position >= position:
                    return True
                if self.away and not (once_more and self._attempts == first):
                    return False
                before = self._attempts
                went_on = self._changed.wait_for(lambda: self._attempts != before, PATIENCE)  # noqa: B023
            if not went_on and (reason := why_away(self.uri)):
                self._note(reason)
                return False

    def _work(self) -> None:
        while not self._finished:
            with self._changed:
                self._changed.wait_for(lambda: self._urgent or self._finished, COLLECT_SECONDS)
                self._urgent, self._points = False, 0
                end = self._written
            self._send_until(end)
        self.outbox.release()

    def _send_until(self, end: int) -> None:
        failures = 0
        while not self._finished and self.outbox.position < end:
            lines, position = self.outbox.read(1 if self.outbox.position < self._singly else POINTS_A_CALL)
            try:
                self._send(lines, position)
            except StoreAway as error:
                self._note(str(error))
                with self._changed:  # until it is time for another attempt, or somebody asks for one
                    self._urgent = False
                    pause = PAUSES[min(failures, len(PAUSES) - 1)]
                    self._changed.wait_for(lambda: self._urgent or self._finished, pause)
                failures += 1
            else:
                failures = 0
                self._note("")

    def _send(self, lines: list[bytes], position: int) -> None:
        """Send; go on after what the store will never take, and leave the error to whoever waits for it."""
        try:
            self.send(lines, position)
        except StoreAway:
            raise
        except TrackingError as error:
            if self._attempts and lines[0].startswith(b'{"op": "create"'):
                raise StoreAway(str(error)) from error  # without a run nothing can be sent, and all of it is kept
            if len(lines) > 1:
                self._singly = position
                return
            if position in self._awaited:
                self._refused[position] = error
            else:
                log.warning("%s", error)
            self.outbox.advance(position)

    def _note(self, away: str) -> None:
        """Note that the store has taken something, or why it is away."""
        with self._changed:
            before, self.away = self.away, away
            self._attempts += 1
            self._changed.notify_all()
        if before and not away:
            log.warning("MLflow at %s answers again", without_password(self.uri))
        if away and not before:
            log.warning(
                "MLflow at %s does not answer (%s): the run goes on and keeps what it would send in %s; if MLflow is "
                "not back before its end, `gradus sync` sends it later",
                without_password(self.uri),
                away,
                self.outbox.folder,
            )
