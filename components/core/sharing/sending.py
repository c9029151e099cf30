"""Checkpoints of what is under way, sent to the remote store beside the work that writes them."""

import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from components.core.sharing.remote import PAUSE, Remote

INTERVAL = 10.0
"""Seconds between two looks for a new checkpoint."""

log = logging.getLogger(__name__)


class Sender:
    """Sends the checkpoints of one result from a thread of its own, while the work goes on that writes them."""

    def __init__(self, remote: Remote, step: str, key: str, checkpoint: Path) -> None:
        self._remote, self._step, self._key, self._checkpoint = remote, step, key, checkpoint
        self._sent: dict[str, int] = {}
        self._warned = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="store.remote", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Send no other; one that is on its way may arrive."""
        self._stopped.set()

    def finish(self) -> None:
        """Send no other, and wait for the one that is on its way."""
        self.stop()
        self._thread.join()

    def _work(self) -> None:
        wait = INTERVAL
        while not self._stopped.wait(wait):
            wait = INTERVAL if self._look() else PAUSE

    def _look(self) -> bool:
        """Send what has not been sent; False if that was to no avail, and is to be tried again."""
        try:
            if complete_files(self._checkpoint) == self._sent:
                return True
            with _held(self._checkpoint, f".{self._key}-") as held:
                there = complete_files(held)
                if there and not self._remote.send_checkpoint(self._step, self._key, held, there):
                    return False
                self._sent = there
        except FileNotFoundError:  # deleted meanwhile: the next look finds a newer one
            pass
        except OSError as error:
            if not self._warned:
                self._warned = True
                log.warning("store.remote: a checkpoint of %s cannot be sent: %s", self._step, error)
            return False
        return True


def complete_files(checkpoint: Path) -> dict[str, int]:
    """Return the files of a checkpoint, and how long each is; what is called `<name>.part` is not complete.

    Raises:
        FileNotFoundError: if one is deleted meanwhile: then the others are not all of it.
    """

    def gone(error: OSError) -> None:
        raise error

    files = {}
    for at, folders, names in os.walk(checkpoint, onerror=gone) if checkpoint.is_dir() else ():
        folders[:] = filter(_is_complete, folders)
        for path in (Path(at, name) for name in filter(_is_complete, names)):
            files[path.relative_to(checkpoint).as_posix()] = path.stat().st_size
    return files


def _is_complete(name: str) -> bool:
    return not name.endswith(".part")


@contextmanager
def _held(checkpoint: Path, prefix: str) -> Iterator[Path]:
    """Keep the files of a checkpoint within reach, though the work deletes them, or writes on at their ends.

    Yields a folder of links to them, beside the draft that they are of.

    Raises:
        FileNotFoundError: if one is deleted meanwhile.
        OSError: if there is no place for it.
    """
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=checkpoint.parents[1]))
    try:
        for name in complete_files(checkpoint):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            _link(checkpoint / name, folder / name)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)
