"""Answers so far, beside the file that they are for: a call that was killed, made again, goes on after them."""

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.core.errors import ConfigError
from components.core.interruptions import interruptions_held_back

Asked = Mapping[str, list[str]]
"""What a model is asked, by field."""
Answers = dict[str, list[Any]]
"""The cells of the columns that a model answers with."""


class Partial:
    """The answers to the first rows of a file, in their order.

    The first line says what they are answers of (`identity`); then there is a line for some rows at a time, with the
    hash of what was asked. They are taken as they are read, so that memory does not grow with them. From the first on
    that answers something else, or is not whole, the rest is thrown away.
    """

    def __init__(self, output: Path, identity: str) -> None:
        """Take what an earlier call for the same `output` left, if there was one, and was of the same `identity`.

        Raises:
            ConfigError: if another call is writing to that output now, or the file cannot be written.
        """
        self.path = output.with_name(f".{output.name}.partial")
        self.rows = 0
        """How many rows an earlier call had answered."""
        try:
            self._file = self.path.open("a+b")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(f"--output {output}: another call is writing it; wait, or name another") from error
        except OSError as error:
            raise ConfigError(f"cannot write {output}: {error.strerror or error}") from error
        self._file.seek(0)
        head = f"{json.dumps({'identity': identity})}\n".encode()
        self._is_known = self._file.readline() == head
        if not self._is_known:
            self._file.truncate(0)
            self._add(head)

    def answered(self, asked: Asked, answer: Callable[[Asked], Answers]) -> Answers:
        """Return the answers to the next rows: those that are known, or else what `answer` says, which is kept."""
        digest = hashlib.sha256(json.dumps(asked).encode()).hexdigest()
        if self._is_known:
            place = self._file.tell()
            if (found := _parsed(self._file.readline(), digest)) is not None:
                self.rows += len(next(iter(asked.values())))
                return found
            self._is_known = False
            self._file.truncate(place)
        answers = answer(asked)
        self._add(f"{json.dumps({'asked': digest, 'answers': answers})}\n".encode())
        return answers

    def close(self, delete: bool) -> None:
        """Let go of the file, and `delete` it once the output is there or never will be."""
        if delete:
            self.path.unlink(missing_ok=True)
        self._file.close()

    def _add(self, line: bytes) -> None:
        with interruptions_held_back():
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())


@contextmanager
def resumable(output: Path, identity: str, refusals: tuple[type[Exception], ...]) -> Iterator[Partial]:
    """Give the answers so far, and keep them if it does not come to an end; not where it ends by one of `refusals`."""
    partial = Partial(output, identity)
    try:
        yield partial
    except refusals:
        partial.close(delete=True)
        raise
    except BaseException as stopped:  # Ctrl-C, or something fails
        partial.close(delete=False)
        stopped.evidence = partial.path  # type: ignore[attr-defined]
        raise
    partial.close(delete=True)


def _parsed(line: bytes, digest: str) -> Answers | None:
    try:
        fields = json.loads(line)
        answers: Answers = fields["answers"]
    except (ValueError, KeyError, TypeError):
        return None
    return answers if fields.get("asked") == digest else None
