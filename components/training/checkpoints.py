"""Checkpoints every few minutes, so that not even `kill -9` or a power cut costs a training more than those.

Each is a folder named for its step, written beside as `<step>.part` and renamed, so that what has a number for its name
is whole at any moment. The one before goes when the next is complete, and is not called a number any more when the
first of its files is deleted.
"""

import logging
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError

from components.core.durable import sync, sync_names
from components.core.interruptions import interruptions_held_back
from components.training.checkpoint import checkpoint_bytes, read_checkpoint, write_checkpoint
from components.training.loop import Trainer

PART = ".part"
SHARE = 0.03
"""Most of the training's own time that writing checkpoints may take."""
PROBE = 32 << 20
"""Bytes that are written to know how long the first checkpoint takes."""

log = logging.getLogger(__name__)


class Checkpoints:
    """Those of one training in `folder`; `clock` counts seconds."""

    def __init__(self, trainer: Trainer, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.trainer, self.folder, self.clock = trainer, folder, clock
        self.newest: Path | None = None
        """The one that this training has written or gone on from."""
        self.begun = self.ended = clock()
        """When this training began, and when the last checkpoint was written."""
        self.spent = 0.0
        """Seconds that went into checkpoints."""
        self.expected: float | None = None
        """Seconds that the next one will take: as long as the last one."""

    def go_on(self) -> bool:
        """Bring the trainer to the newest checkpoint that is whole and its own, if there is one."""
        found = complete(self.folder)
        for checkpoint in found:
            if read_checkpoint(checkpoint, self.trainer):
                self.newest = checkpoint
                at = time.strftime("%H:%M", time.localtime(checkpoint.stat().st_mtime))
                where = f"step {self.trainer.taken:,} of {self.trainer.total:,}"
                log.info("fine_tune: going on from %s (checkpoint of %s)", where, at)
                return True
        if found:
            log.warning("fine_tune: the checkpoint in %s is damaged or of something else; training anew", self.folder)
        return False

    def after_step(self) -> None:
        """Write a checkpoint if it is time; if it cannot be written, training goes on all the same."""
        try:
            if self._is_due():
                with interruptions_held_back():
                    self.write()
        except (OSError, SafetensorError) as error:
            with suppress(OSError):
                self._remove_parts()
            self.ended = self.clock()
            self._note_failure(error)

    def at_end(self) -> None:
        """Write a checkpoint where training was stopped; what stopped it matters more than that this fails."""
        try:
            self.write()
        except (OSError, SafetensorError) as error:
            self._note_failure(error)

    def _note_failure(self, error: Exception) -> None:
        log.warning("fine_tune: no checkpoint was written after step %d: %s", self.trainer.taken, error)

    def write(self) -> None:
        """Write a checkpoint; once it is on the disk, earlier ones are deleted.

        Raises:
            OSError, SafetensorError: if it cannot be written; earlier ones are still there then.
        """
        begun = self.clock()
        target = self.folder / str(self.trainer.taken)
        if target == self.newest:
            return
        self.folder.mkdir(exist_ok=True)
        self._remove_parts()
        part = target.with_name(target.name + PART)
        write_checkpoint(self.trainer, part)
        sync(part)
        earlier = complete(self.folder)
        if target in earlier:  # training did not go on from it, so it is damaged
            _discard(target)
        part.rename(target)
        for folder in (self.folder, self.folder.parent, self.folder.parent.parent):
            sync_names(folder)
        self.newest = target
        for each in earlier:
            _discard(each)
        self.ended = self.clock()
        self.expected = self.ended - begun
        self.spent += self.expected

    def _is_due(self) -> bool:
        minutes, now = self.trainer.config.checkpoint_minutes, self.clock()
        if not minutes or now - self.ended < 60 * minutes:
            return False
        if self.expected is None:
            self.expected = self._probe()
        return self.spent + self.expected <= SHARE * (now - self.begun - self.spent)

    def _probe(self) -> float:
        """Return about how long writing a checkpoint takes, from writing a part of its bytes."""
        begun, size = self.clock(), checkpoint_bytes(self.trainer)
        self.folder.mkdir(exist_ok=True)
        probe = self.folder / f"probe{PART}"
        probe.write_bytes(os.urandom(min(PROBE, size)))
        sync(probe)
        taken = self.clock() - begun
        probe.unlink()
        self.spent += taken
        return taken * max(1.0, size / PROBE)

    def _remove_parts(self) -> None:
        for each in self.folder.glob(f"*{PART}"):
            shutil.rmtree(each) if each.is_dir() else each.unlink()


def complete(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder that are complete, the newest first."""
    steps = [each for each in folder.glob("*") if each.name.isdecimal()]
    return sorted(steps, key=lambda each: -int(each.name))


def _discard(checkpoint: Path) -> None:
    """Delete a checkpoint; that it is still there matters to nobody."""
    with suppress(OSError):
        part = checkpoint.rename(checkpoint.with_name(checkpoint.name + PART))
        shutil.rmtree(part)
