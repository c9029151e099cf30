"""What every fine-tuning has in common: where it starts, how it is run, and what it leaves."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import tiktoken
import torch
from torch import nn

from components.core.errors import ConfigError
from components.core.progress import progress_bar
from components.core.records import Facts, Logger
from components.models.config import LoraConfig, ModelConfig
from components.models.fast import fast_paths
from components.models.fast.compiled import compile_blocks
from components.models.lora import add_adapters
from components.models.memory import freed_memory_kept
from components.models.tokenizer import VOCABULARY_FILE, load_tokenizer, read_tokenizer
from components.models.trainable import set_trainable
from components.training.checkpoints import BEST
from components.training.config import Recipe, rows_per_step
from components.training.history import Evaluation, History, Sample
from components.training.keeping import Splits, Write, train_to_end
from components.training.loop import Progress, Trainer, tokens_in_all, total_steps
from components.training.objectives import Model, Objective

WINDOW = 20
"""Batches over which the progress bar averages loss and accuracy."""

Sampler = Callable[[Evaluation], Sample]
"""Lets a language model say something, once it has been evaluated."""


@dataclass(frozen=True)
class Start:
    """What a training starts from: a network, and the folder of its weights (None: random ones)."""

    model: ModelConfig
    weights: Path | None = None
    lora: LoraConfig = LoraConfig()
    """The adapters, where such are trained."""
    mirror: Path | None = None
    """A folder to look for the vocabulary in, before the network."""

    def tokenizer(self) -> tiktoken.Encoding:
        """Return the vocabulary.

        Raises:
            ConfigError: if the weights were trained with another one.
            WeightsError: if it cannot be had.
        """
        encoding = load_tokenizer(self.model.vocabulary, self.mirror)
        check_vocabulary(self.weights, encoding)
        return encoding


def check_vocabulary(weights: Path | None, encoding: tiktoken.Encoding) -> None:
    """Refuse an earlier model whose token ids stand for other texts; its weights would load all the same."""
    if weights is None or not (weights / VOCABULARY_FILE).exists():
        return
    if read_tokenizer(weights)._mergeable_ranks != encoding._mergeable_ranks:
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
    best: bool = True,
) -> tuple[Facts, History]:
    """Train the objective's model and save what is kept of it; return the facts of any training, and its history.

    With `best`, the weights of the lowest validation loss are there also where the last ones are the model.
    `components.training.keeping.train_to_end` says what is in `out` afterwards.
    """
    model, config = objective.model, objective.config
    tokens = tokens_in_all(config, objective.rows("train"))
    compiled = compile_blocks(model.transformer, config.compile, objective.device, tokens)
    with _progress_bar(total_steps(config, len(objective.rows("train"))), config.epochs) as progress:
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
