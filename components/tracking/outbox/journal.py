"""What a run has for MLflow, on disk first: a journal a run, sent in order, and removed when all of it has arrived.

<home>/outbox/<key>/ops.jsonl    one operation a line, appended
                    state.json   how far it was sent, and what MLflow called the run; replaced by renaming
                    files/<n>/   files that wait: hard links where that is possible
                    lock         held by whoever sends
"""

import errno
import fcntl
import io
import itertools
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from components.core.errors import TrackingError
from components.tracking.relocation import OUTBOX
from components.tracking.stores import StoreAway, tracking_errors

OPERATIONS = "ops.jsonl"
STATE = "state.json"
Operation = dict[str, Any]
"""`op` says what to do (`components.tracking.outbox.sending`); the rest is what it needs, as JSON values."""


class Outbox:
    """The journal of one run. One process appends; whoever holds the lock sends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state: dict[str, Any] = {"position": 0}
        self._numbers = itertools.count(1)
        self._lock: TextIO | None = None
        self._journal: io.FileIO | None = None
        self.read_state()

    @classmethod
    def create(cls, home: Path, key: str, **state: Any) -> "Outbox":
        """Make an empty journal and hold its lock; `state` is what is known of the run already.

        Raises:
            TrackingError: if the home cannot be written.
        """
        draft = cls(home / OUTBOX / f".{key}")
        try:
            draft.folder.mkdir(parents=True, mode=0o700)
            draft.hold()
            draft.advance(0, **state)
            draft.folder = draft.folder.rename(home / OUTBOX / key)  # where others see it, with its lock held
        except OSError as error:
            raise TrackingError(
                f"cannot write to {home / OUTBOX}: {error.strerror}; set GRADUS_HOME to a folder you can write"
            ) from error
        return draft

    def read_state(self) -> None:
        """Read how far it was sent; another process may have sent more meanwhile."""
        with suppress(OSError, ValueError):  # nothing was sent yet
            self.state |= json.loads((self.folder / STATE).read_text())

    @property
    def key(self) -> str:
        """What the run is called until MLflow has given it an id: 32 hexadecimal digits, as long as that."""
        return self.folder.name

    @property
    def position(self) -> int:
        """How many bytes of the journal have been sent."""
        return int(self.state["position"])

    @property
    def size(self) -> int:
        """How many bytes there are to be sent, in whole lines."""
        return sum(map(len, self._lines(0)))

    def _lines(self, start: int) -> Iterator[bytes]:
        """Yield the whole lines from a position on: a process may die while it writes one."""
        with suppress(FileNotFoundError), (self.folder / OPERATIONS).open("rb") as file:
            file.seek(start)
            yield from itertools.takewhile(lambda line: line.endswith(b"\n"), file)

    def append(self, operation: Mapping[str, Any]) -> int:
        """Write an operation down, and return the position at which it has been sent.

        Raises:
            TrackingError: if the disk is full, or the folder is gone.
        """
        data = json.dumps(operation, ensure_ascii=False).encode() + b"\n"
        with tracking_errors(f"cannot keep what MLflow is to get in {self.folder}"):
            if self._journal is None:
                self._journal = (self.folder / OPERATIONS).open("ab", buffering=0)
                self._journal.truncate(self.size)  # half a line of a process that died
            written = self._journal.write(data)  # in one call, so that a process that dies leaves whole lines
            if written != len(data):
                self._journal.truncate(self._journal.tell() - written)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return self._journal.tell()

    def read(self, most: int) -> tuple[list[bytes], int]:
        """Return the lines to send next and the position after them: one, or up to `most` with points of metrics."""
        lines: list[bytes] = []
        for line in itertools.islice(self._lines(self.position), most):
            points = line.startswith(b'{"op": "metrics"')
            if points or not lines:
                lines.append(line)
            if not points:
                break
        return lines, self.position + sum(map(len, lines))

    def operations(self) -> Iterator[Operation]:
        """Yield all operations, those that were sent as well."""
        return map(json.loads, self._lines(0))

    @property
    def ended(self) -> bool:
        """Whether the run came to its end, whatever that was."""
        return any(operation["op"] == "end" for operation in self.operations())

    def advance(self, position: int, **state: Any) -> None:
        """Note that everything up to `position` has arrived, and what was learnt on the way.

        Raises:
            StoreAway: if the disk is full, or the folder is gone.
        """
        state = self.state | {"position": position, **state}
        draft = self.folder / f".{STATE}"
        try:
            draft.write_text(json.dumps(state))
            draft.replace(self.folder / STATE)
        except OSError as error:
            raise StoreAway(f"cannot write to {self.folder}: {error.strerror}") from error
        self.state = state

    def new_folder(self) -> Path:
        """Make a folder for files that wait.

        Raises:
            TrackingError: if the disk is full, or cannot be written.
        """
        folder = self.folder / "files" / str(next(self._numbers))
        with tracking_errors("cannot keep files for MLflow"):
            folder.mkdir(parents=True, mode=0o700)
        return folder

    def keep(self, path: Path) -> Path:
        """Keep a file or a folder as it is now, and return where it waits; raises as `new_folder` does."""
        kept = self.new_folder() / path.name
        with tracking_errors(f"cannot keep {path.name} for MLflow"):
            if path.is_dir():
                shutil.copytree(path, kept, copy_function=_link_or_copy)
            else:
                _link_or_copy(str(path), str(kept))
        return kept

    def hold(self) -> bool:
        """Take the right to send, until `release` or the end of the process; False if another has it."""
        try:
            self._lock = (self.folder / "lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:  # whoever had it was done
            return False
        except BlockingIOError:
            self.release()
            return False
        # It may have been removed between the two.
        return (self.folder / "lock").exists()

    def release(self) -> None:
        """Give the right to send back; nothing is appended any more."""
        held, self._journal, self._lock = (self._journal, self._lock), None, None  # two threads may come here at once
        for file in held:
            if file:
                file.close()

    def remove(self) -> None:
        """Delete the journal, and the folder of all journals if there is no other."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):  # there are others
            self.folder.parent.rmdir()
        self.release()


def _link_or_copy(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)
    return target
