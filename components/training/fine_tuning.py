"""What every fine-tuning has in common: where it starts, how it is run, and what it leaves."""

import logging
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from pyarrow.dataset import dataset
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from components.core.errors import ConfigError
from components.core.interruptions import hold_until_published
from components.core.progress import progress_bar
from components.core.records import Facts, Logger
from components.core.store import CHECKPOINT
from components.models.config import LoraConfig, ModelConfig
from components.models.fast import fast_paths
from components.models.fast.compiled import compile_blocks
from components.models.lora import add_adapters
from components.models.memory import freed_memory_kept
from components.models.pretrained.files import ADAPTER, find_adapter
from components.models.saved.adapter import save_adapter
from components.models.saved.base import Base, base_of
from components.models.tokenizer import VOCABULARY_FILE, Tokenizer, load_tokenizer, read_tokenizer
from components.models.trainable import set_trainable
from components.training.checkpoints import BEST, Checkpoints
from components.training.config import Recipe, rows_per_step
from components.training.history import Evaluation, History, Sample, Step, write_history
from components.training.loop import NotFinite, Progress, Trainer, tokens_in_all, total_steps
from components.training.objectives import Model, Objective

log = logging.getLogger(__name__)

WINDOW = 20
"""Batches over which the progress bar averages loss and accuracy."""

Sampler = Callable[[Evaluation], Sample]
"""Lets a language model say something, once it has been evaluated."""

Write = Callable[[Path, Sequence[Step]], None]
"""Writes the model into a folder, once it has the weights that these steps have made."""


class Splits(NamedTuple):
    """The tables to learn from, and to evaluate on meanwhile."""

    train: Path
    validation: Path


@dataclass(frozen=True)
class Start:
    """What a training starts from: a network, and the folder of its weights (None: random ones)."""

    model: ModelConfig
    weights: Path | None = None
    lora: LoraConfig = LoraConfig()
    """The adapters, where such are trained."""
    mirror: Path | None = None
    """A folder to look for the vocabulary in, before the network."""

    def tokenizer(self) -> Tokenizer:
        """Return the vocabulary.

        Raises:
            ConfigError: if the weights were trained with another one.
            WeightsError: if it cannot be had.
        """
        encoding = load_tokenizer(self.model.tokenizer, self.mirror)
        check_vocabulary(self.weights, encoding)
        return encoding


def check_vocabulary(weights: Path | None, encoding: Tokenizer) -> None:
    """Refuse an earlier model whose token ids stand for other texts; its weights would load all the same."""
    if weights is None or not (weights / VOCABULARY_FILE).exists():
        return
    if getattr(read_tokenizer(weights), "_mergeable_ranks", None) != getattr(encoding, "_mergeable_ranks", None):
        raise ConfigError(
            "model.weights was trained with another vocabulary than model.vocabulary; set the one of its run"
        )


def longest_allowed(config: Recipe, context: int) -> int:
    """Return how many tokens a row may have.

    Raises:
        ConfigError: if a length that is asked for exceeds the context.
    """
    if wrong := config.too_long(context):
        raise ConfigError(wrong)
    return config.max_length or context


def unfrozen(model: Model, lora: LoraConfig, config: Recipe) -> Model:
    """Return the model with its adapters, if such are trained, and frozen but for the part that trains."""
    if config.trainable == "lora":
        add_adapters(model.transformer, lora, config.seed)
    set_trainable(model, config.trainable)
    return model


def keep_adapter(model: Model, start: Start, config: Recipe, folder: Path) -> Base | None:
    """Save an adapter that was trained beside the model's `folder`; return its base if `folder` gets it and no more.

    It has not been merged yet.
    """
    if config.trainable != "lora":
        return None
    apart = folder.parent / ADAPTER
    save_adapter(model, start.lora, start.model.base, apart)
    if start.lora.save == "merged":
        return None
    assert start.weights is not None
    for file in find_adapter(apart):
        shutil.copyfile(file, folder / file.name)
    return base_of(start.model.weights, start.weights)


def count_parameters(model: nn.Module) -> Facts:
    """Return how many parameters there are, and how many of them train."""
    every = list(model.parameters())
    trained = sum(tensor.numel() for tensor in every if tensor.requires_grad)
    return {"parameters": sum(tensor.numel() for tensor in every), "trained_parameters": trained}


@contextmanager
def prepared(config: Recipe) -> Iterator[None]:
    """Seed dropout, set threads and fast paths, keep freed memory at hand, and leave all as it was."""
    before = torch.get_num_threads()
    with torch.random.fork_rng(), fast_paths(config.fast), freed_memory_kept():
        torch.manual_seed(config.seed)
        torch.set_num_threads(config.threads or before)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def learn(
    objective: Objective,
    splits: Splits,
    write: Write,
    out: Path,
    logger: Logger,
    sample: Sampler | None = None,
) -> tuple[Facts, History]:
    """Train the objective's model and save what is kept of it; return the facts of any training, and its history.

    The weights of the lowest validation loss are there also where a classifier is made of the last ones.
    `train_to_end` says what is in `out` afterwards.
    """
    model, config = objective.model, objective.config
    tokens = tokens_in_all(config, objective.rows("train"))
    compiled = compile_blocks(model.transformer, config.compile, objective.device, tokens)
    with _progress_bar(total_steps(config, len(objective.rows("train"))), config.epochs) as progress:
        best = config.keep == "best" or not objective.is_language_model
        trainer = Trainer(objective, logger, progress, out / BEST if best else None, sample)
        kept = train_to_end(trainer, splits, write, out)
    facts = {
        **kept,
        "batch_size": config.batch_size,
        "rows_per_step": rows_per_step(config),
        "device": objective.device.type,
        "precision": objective.precision,
        "fast": config.fast,
        "compiled": compiled,
    }
    return facts, trainer.history


@contextmanager
def _progress_bar(steps: int, epochs: int) -> Iterator[Progress]:
    """Show epoch, step, loss, accuracy and time left on standard error, if that is a terminal."""
    recent: deque[tuple[float, float]] = deque(maxlen=WINDOW)
    what = f"fine-tune  epoch {{task.fields[epoch]}}/{epochs}"
    more = "loss {task.fields[loss]:.3f}  accuracy {task.fields[accuracy]:.1%}"
    with progress_bar(what, steps, more, epoch=1, loss=float("nan"), accuracy=float("nan")) as update:

        def report(step: int, epoch: int, loss: float, accuracy: float) -> None:
            recent.append((loss, accuracy))
            means = [sum(column) / len(recent) for column in zip(*recent, strict=True)]
            update(completed=step, epoch=epoch, loss=means[0], accuracy=means[1])

        yield report


def train_to_end(trainer: Trainer, splits: Splits, write: Write, out: Path) -> Facts:
    """Train, from a checkpoint in `out` if one fits, and save the model that is kept; return which steps' it is.

    Every `train.checkpoint_minutes` a checkpoint is written to `out/checkpoint` (`components.training.checkpoints`); it
    is left there: whoever has the result in a safe place may delete it. In the end there are `model/`, the history and,
    where another step's weights are better than those kept, these. An interruption leaves all that of the model so far
    and a checkpoint, an error a checkpoint, a loss that is not finite its rows as `batch.parquet`; the exception's
    `evidence` says so.
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
            checkpoints.write_safely()
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
    trainer.release()
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
