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

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from components.core.durable import sync, sync_names
from components.core.interruptions import interruptions_held_back
from components.training.history import log_evaluation, log_step, read_history, write_history
from components.training.loop import Trainer, random_state, trained_weights

STATE, BEST = "state.safetensors", "best.safetensors"
WEIGHTS, RANDOM = "weights.", "random."
"""How the names of trained weights in the state begin, and those of the generators' states by device."""
MOMENTS = ("step", "exp_avg", "exp_avg_sq")
"""What AdamW remembers of each trained weight: `moments.<number>.<name>`."""
PART = ".part"
SHARE = 0.03
"""Most of the training's own time that writing checkpoints may take."""

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
        self.expected = 0.0
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
        """Write a checkpoint if it is time."""
        minutes, now = self.trainer.config.checkpoint_minutes, self.clock()
        cheap = self.spent + self.expected <= SHARE * (now - self.begun - self.spent)
        if minutes and now - self.ended >= 60 * minutes and cheap:
            self.write_safely()

    def write_safely(self) -> None:
        """Write a checkpoint; if it cannot be written, training goes on, or ends for its own reason, all the same."""
        try:
            with interruptions_held_back():
                self.write()
        except (OSError, SafetensorError) as error:
            with suppress(OSError):
                self._remove_parts()
            self.ended = self.clock()
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


def write_checkpoint(trainer: Trainer, folder: Path) -> None:
    """Write all that `read_checkpoint` needs into `folder`: weights, moments, generators, history, the best weights."""
    folder.mkdir()
    state = {f"{WEIGHTS}{name}": tensor for name, tensor in trained_weights(trainer.model).items()}
    for number, moments in trainer.optimiser.state_dict()["state"].items():
        state |= {f"moments.{number}.{name}": moments[name].detach().cpu() for name in MOMENTS}
    state |= {f"{RANDOM}{device}": generator for device, generator in trainer.random_state.items()}
    save_file(state, folder / STATE)
    write_history(trainer.history, folder)
    if trainer.best:
        _share(trainer.best, folder / BEST)


def read_checkpoint(folder: Path, trainer: Trainer) -> bool:
    """Bring a trainer to where another one was when `write_checkpoint` was called; its curves are logged again.

    Returns False, and changes nothing, if a file is missing, damaged or of something else: training then starts anew.
    """
    try:
        state = load_file(folder / STATE)
        if trainer.best:
            load_file(folder / BEST)
        history = read_history(folder)
    except (SafetensorError, OSError, ValueError, TypeError):
        return False
    steps = [step.step for step in history.steps]
    whole = steps == list(range(1, len(steps) + 1)) and bool(history.evaluations)
    if not whole or {name: tensor.shape for name, tensor in state.items()} != _shapes(trainer):
        return False
    if trainer.best:
        _share(folder / BEST, trainer.best)
    trainer.model.load_state_dict(_named(WEIGHTS, state), strict=False)
    moments = [{name: state[f"moments.{number}.{name}"] for name in MOMENTS} for number in range(len(trainer.weights))]
    groups = trainer.optimiser.state_dict()["param_groups"]
    trainer.optimiser.load_state_dict({"state": dict(enumerate(moments)), "param_groups": groups})
    for device, generator in _named(RANDOM, state).items():
        (torch.cuda.set_rng_state if device == "cuda" else torch.set_rng_state)(generator)
    trainer.history = history
    for step in trainer.history.steps:
        log_step(trainer.logger, step)
    for evaluation in trainer.history.evaluations:
        log_evaluation(trainer.logger, evaluation, trainer.objective.is_language_model)
    return True


def _share(source: Path, target: Path) -> None:
    """Let `target` be the same file as `source`: neither is written to, another is renamed into its place."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)


def _named(start: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin so, by the rest of their names."""
    return {name.removeprefix(start): tensor for name, tensor in state.items() if name.startswith(start)}


def _shapes(trainer: Trainer) -> dict[str, torch.Size]:
    """Return the shapes of the tensors in a checkpoint of this trainer, by name."""
    shapes = {f"{RANDOM}{device}": state.shape for device, state in random_state(trainer.device).items()}
    for number, (name, tensor) in enumerate(trained_weights(trainer.model).items()):
        moments = zip(MOMENTS, (torch.Size(), tensor.shape, tensor.shape), strict=True)
        shapes |= {f"{WEIGHTS}{name}": tensor.shape} | {f"moments.{number}.{each}": shape for each, shape in moments}
    return shapes
