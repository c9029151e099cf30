"""What training leaves: the weights that are kept, and, where it does not come to its end, all that there is."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from pyarrow.dataset import dataset
from safetensors import SafetensorError
from safetensors.torch import load_file

from components.core.interruptions import hold_until_published
from components.core.records import Facts
from components.core.store import CHECKPOINT
from components.training.checkpoints import Checkpoints
from components.training.history import Step, write_history
from components.training.loop import NotFinite, Trainer

log = logging.getLogger(__name__)


Write = Callable[[Path, Sequence[Step]], None]
"""Writes the model into a folder, once it has the weights that these steps have made."""


class Splits(NamedTuple):
    """The tables to learn from, and to evaluate on meanwhile."""

    train: Path
    validation: Path


def train_to_end(trainer: Trainer, splits: Splits, write: Write, out: Path) -> Facts:
    """Train, from a checkpoint in `out` if one fits, and save the model that is kept; return which steps' it is.

    Every few minutes a checkpoint is written to `out`; it is left there for as long as the result is not in its place.
    In the end there are `model/`, the history and, where another step's weights are better than those kept, these. An
    interruption leaves all that of the model so far and a checkpoint, an error a checkpoint, a loss that is not finite
    its rows as `batch.parquet`; the exception's `evidence` says so.
    """
    checkpoints = Checkpoints(trainer, out / CHECKPOINT)
    checkpoints.go_on()
    try:
        trainer.fit(checkpoints.after_step)
    except NotFinite as error:
        frame = dataset(getattr(splits, error.split)).take(error.rows).to_pandas()
        frame["tokens"] = [trainer.objective.rows(error.split).tokens(row) for row in error.rows]
        frame.to_parquet(out / "batch.parquet", index=False)
        error.evidence = out
        raise
    except BaseException as stopped:  # Ctrl-C, or the process is told to end, or something fails
        if trainer.taken:
            hold_until_published()
            checkpoints.at_end()
            if not isinstance(stopped, Exception):
                try:
                    _save(trainer, write, out)
                except (OSError, SafetensorError) as error:  # what stopped the training is what to tell
                    log.warning("fine_tune: the model so far could not be saved: %s", error)
            stopped.evidence = out  # type: ignore[attr-defined]
        raise
    hold_until_published()
    return _save(trainer, write, out)


def _save(trainer: Trainer, write: Write, out: Path) -> Facts:
    """Write the model with the weights to keep, and the history; a second copy of them is removed."""
    history, best = trainer.history, trainer.best
    last = history.steps[-1].step
    best_step = history.best.step if history.best else last
    kept = best_step if trainer.config.keep == "best" else last
    if kept != last and best:
        trainer.model.load_state_dict(load_file(best), strict=False)
    if kept == best_step and best:
        best.unlink(missing_ok=True)
    (out / "model").mkdir()
    write(out / "model", history.steps[:kept])
    write_history(history, out)
    shown = history.best.step if history.best else None
    return {"steps": last, "kept_step": kept, "best_step": shown, "stopped_early": last < trainer.total}
