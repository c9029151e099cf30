"""What training leaves: the weights that are kept, and, where it does not come to its end, all that there is."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from pyarrow.dataset import dataset
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from components.core.interruptions import hold_until_published
from components.core.records import Facts
from components.core.store import CHECKPOINT
from components.training.checkpoints import Checkpoints
from components.training.config import Recipe
from components.training.history import History
from components.training.loop import NotFinite, Trainer, total_steps
from components.training.objectives import Split

log = logging.getLogger(__name__)


def keep(config: Recipe, history: History, model: nn.Module, best: Path | None) -> Facts:
    """Put the weights to keep into `model` and say of which step they are; a second copy on disk is removed."""
    last = history.steps[-1].step
    best_step = history.best.step if history.best else last
    if config.keep == "best" and best_step != last and best:
        model.load_state_dict(load_file(best), strict=False)
    kept = best_step if config.keep == "best" else last
    if kept == best_step and best:
        best.unlink(missing_ok=True)
    return {"steps": last, "kept_step": kept, "best_step": history.best.step if history.best else None}


def stopped_early(trainer: Trainer) -> bool:
    """Tell whether there were fewer steps than the recipe has."""
    return trainer.taken < total_steps(trainer.config, len(trainer.objective.rows("train")))


def train_to_end(trainer: Trainer, splits: dict[Split, Path], save: Callable[[], Facts], out: Path) -> Facts:
    """Train, from a checkpoint in `out` if there is one that fits; return what `save` says of the model kept.

    Every few minutes a checkpoint is written to `out`; it is left there for as long as the result is not in its place.
    An interruption leaves the model so far and a checkpoint in `out`, an error a checkpoint, a loss that is not finite
    its rows as `batch.parquet`; the exception's `evidence` says so.
    """
    checkpoints = Checkpoints(trainer, out / CHECKPOINT)
    checkpoints.go_on()
    with _kept_if_stopped(trainer, checkpoints, splits, save, out):
        trainer.fit(checkpoints.after_step)
    hold_until_published()
    return save()


@contextmanager
def _kept_if_stopped(
    trainer: Trainer, checkpoints: Checkpoints, splits: dict[Split, Path], save: Callable[[], Facts], out: Path
) -> Iterator[None]:
    """Leave in `out` what is worth keeping where training does not come to its end, and say so on the exception."""
    try:
        yield
    except NotFinite as error:
        _write_rows(trainer, error, splits[error.split], out / "batch.parquet")
        error.evidence = out
        raise
    except BaseException as stopped:  # Ctrl-C, or the process is told to end, or something fails
        if trainer.taken:
            hold_until_published()
            checkpoints.at_end()
            if not isinstance(stopped, Exception):
                try:
                    save()
                except (OSError, SafetensorError) as error:  # what stopped the training is what to tell
                    log.warning("fine_tune: the model so far could not be saved: %s", error)
            stopped.evidence = out  # type: ignore[attr-defined]
        raise


def _write_rows(trainer: Trainer, error: NotFinite, split: Path, path: Path) -> None:
    """Write the rows of a split whose loss is not finite, with their token ids."""
    rows = trainer.objective.rows(error.split)
    frame = dataset(split).take(error.rows).to_pandas()
    frame["tokens"] = pd.Series([rows.tokens(row) for row in error.rows], index=frame.index)
    frame.to_parquet(path, index=False)
