"""What every fine-tuning has in common: where it starts, how it is run, and what it leaves."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from components.core.records import Facts, Logger
from components.models.config import LoraConfig, ModelConfig
from components.models.fast.compiled import compile_blocks
from components.models.tokenizer import Tokenizer, load_tokenizer
from components.training.batching import TokenRows
from components.training.checkpoint import BEST
from components.training.config import Recipe, rows_per_step
from components.training.history import Evaluation, History, Sample
from components.training.keeping import Splits, Write, train_to_end
from components.training.loop import Trainer, tokens_in_all, total_steps
from components.training.objectives import Objective
from components.training.preparing import check_vocabulary, prepared
from components.training.progress import Progress, training_bar

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

    def tokenizer(self) -> Tokenizer:
        """Return the vocabulary.

        Raises:
            ConfigError: if the weights were trained with another one.
            WeightsError: if it cannot be had.
        """
        encoding = load_tokenizer(self.model.tokenizer, self.mirror)
        check_vocabulary(self.weights, encoding)
        return encoding


@contextmanager
def training(config: Recipe, train: TokenRows) -> Iterator[Progress]:
    """Make this process ready to train on these rows, and show how far it has come."""
    with prepared(config), training_bar(total_steps(config, len(train)), config.epochs) as progress:
        yield progress


def learn(
    objective: Objective,
    splits: Splits,
    write: Write,
    out: Path,
    logger: Logger,
    progress: Progress,
    sample: Sampler | None = None,
    best: bool = True,
) -> tuple[Facts, History]:
    """Train the objective's model and save what is kept of it; return the facts of any training, and its history.

    With `best`, the weights of the lowest validation loss are there also where
    the last ones are the model. `components.training.keeping.train_to_end` says what is in `out` afterwards.
    """
    model, config = objective.model, objective.config
    tokens = tokens_in_all(config, objective.rows("train"))
    compiled = compile_blocks(model.transformer, config.compile, objective.device, tokens)
    trainer = Trainer(objective, logger, progress, out / BEST if best else None, sample)
    facts = {
        **train_to_end(trainer, splits, write, out),
        "batch_size": config.batch_size,
        "rows_per_step": rows_per_step(config),
        "device": objective.device.type,
        "precision": objective.precision,
        "fast": config.fast,
        "compiled": compiled,
    }
    return facts, trainer.history
