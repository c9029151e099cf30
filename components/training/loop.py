"""The training loop of a classifier."""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import count
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.errors import TrainingError
from components.records import Logger
from components.training.batching import Batch, Examples, in_batches, in_order, pad, shuffled, steps_per_epoch
from components.training.config import TrainConfig
from components.training.devices import autocast
from components.training.progress import Progress
from components.training.schedule import learning_rate_factor

REMEDY = "lower train.learning_rate, set train.clip=1.0, or use train.precision=fp32"


class NotFinite(TrainingError):
    """A loss or a gradient is not a finite number; `rows` are the training rows of the step that it came from."""

    def __init__(self, message: str, rows: list[int] | None = None) -> None:
        super().__init__(message)
        self.rows = rows or []


@dataclass(frozen=True)
class Step:
    """One optimiser step: mean cross entropy of its rows, the gradient's norm before clipping, and the rate taken."""

    step: int
    epoch: float
    examples_seen: int
    loss: float
    gradient_norm: float
    learning_rate: float


@dataclass(frozen=True)
class Evaluation:
    """Loss and accuracy on (a sample of) train and validation after some step."""

    step: int
    epoch: float
    examples_seen: int
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float


@dataclass
class History:
    """What happened: every step, every evaluation, and the evaluation with the lowest validation loss."""

    steps: list[Step] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    best: Evaluation | None = None

    @property
    def evaluations_since_best(self) -> int:
        """Return how many evaluations there were after the best one."""
        return len(self.evaluations) - 1 - self.evaluations.index(self.best) if self.best else 0


def rows_per_step(config: TrainConfig) -> int:
    """Return how many rows one optimiser step sees."""
    return config.batch_size * config.accumulate


def total_steps(config: TrainConfig, rows: int) -> int:
    """Return the number of optimiser steps that `rows` training rows make, unless training stops early."""
    steps = config.epochs * steps_per_epoch(rows, rows_per_step(config))
    return min(steps, config.max_steps or steps)


class Measured(NamedTuple):
    """A batch's weighted sum of cross entropies, the sum of its rows' weights, and how many rows were right."""

    loss: Tensor
    weight: Tensor
    right: Tensor


@dataclass
class Trainer:
    """A model, what it learns from, and how.

    `class_weights` (C) say how much a row of each class counts in the loss, by default all the same. `save_best` is
    called whenever the validation loss is the lowest so far. `history` can be read while `fit` runs.
    """

    model: nn.Module
    train: Examples
    validation: Examples
    config: TrainConfig
    device: torch.device
    precision: str
    pad_id: int
    length: int | None
    logger: Logger
    progress: Progress
    save_best: Callable[[], None]
    class_weights: Tensor | None = None
    history: History = field(default_factory=History)

    def fit(self) -> History:
        """Train; return the history. The model is left with its last weights.

        AdamW: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019.

        Raises:
            NotFinite: if a loss or a gradient is not a finite number; the step is not taken.
        """
        config = self.config
        weights = [tensor for tensor in self.model.parameters() if tensor.requires_grad]
        optimiser = torch.optim.AdamW(
            weights, lr=config.learning_rate, weight_decay=config.weight_decay, fused=self.device.type != "mps"
        )
        total, seen = total_steps(config, len(self.train)), 0
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, learning_rate_factor(config, total))
        self._evaluate(step=0, seen=0)
        for step, (epoch, rows) in enumerate(self._rows(), start=1):
            optimiser.zero_grad(set_to_none=True)
            loss, accuracy = self._accumulate(rows)
            norm = nn.utils.clip_grad_norm_(weights, config.clip or math.inf).item()
            self._check_finite(step, rows, loss, norm)
            rate = schedule.get_last_lr()[0]
            optimiser.step()
            schedule.step()
            seen += len(rows)
            self._record(Step(step, self._epoch(step), seen, loss, norm, float(rate)))
            self.progress(epoch, loss, accuracy)
            if step % config.eval_every == 0 or step == total:
                self._evaluate(step, seen)
                if config.early_stopping and self.history.evaluations_since_best >= config.early_stopping:
                    break
            if step == total:
                break
        return self.history

    def _rows(self) -> Iterator[tuple[int, list[int]]]:
        """Yield the epoch, from 1, and the rows of every step, without an end."""
        order = torch.Generator().manual_seed(self.config.seed)
        for epoch in count(1):
            for rows in shuffled(len(self.train), rows_per_step(self.config), order):
                yield epoch, rows

    def _accumulate(self, rows: list[int]) -> tuple[float, float]:
        """Add up the gradients of a step's batches; return its loss and accuracy.

        Each batch counts by the weight of its rows in the whole step, so that the gradient is that of one large batch.
        """
        self.model.train()
        weight = self._weights(torch.from_numpy(self.train.labels[rows]).to(self.device)).sum()
        loss = right = 0.0
        for batch in in_batches(rows, self.config.batch_size):
            measured = self._measure_batch(self._batch(self.train, batch))
            share = measured.loss / weight
            share.backward()  # type: ignore[no-untyped-call]
            loss += share.item()
            right += measured.right.item()
        return loss, right / len(rows)

    def _epoch(self, step: int) -> float:
        return step / steps_per_epoch(len(self.train), rows_per_step(self.config))

    def _batch(self, examples: Examples, rows: list[int]) -> Batch:
        return pad(examples, rows, self.pad_id, self.length).to(self.device)

    def _weights(self, labels: Tensor) -> Tensor:
        """Return how much each row counts: class ids (B) to (B)."""
        return (
            torch.ones_like(labels, dtype=torch.float32) if self.class_weights is None else self.class_weights[labels]
        )

    def _measure_batch(self, batch: Batch) -> Measured:
        with autocast(self.device, self.precision):
            logits = self.model(batch.tokens, batch.lengths)
        logits = logits.float()  # (B, C)
        loss = F.cross_entropy(logits, batch.labels, self.class_weights, reduction="sum")
        return Measured(loss, self._weights(batch.labels).sum(), (logits.argmax(dim=-1) == batch.labels).sum())

    def _check_finite(self, step: int, rows: list[int], loss: float, norm: float) -> None:
        for what, value in (("loss", loss), ("gradient's norm", norm)):
            if not math.isfinite(value):
                raise NotFinite(f"the {what} of step {step} is {value}; {REMEDY}", rows)

    def _record(self, step: Step) -> None:
        self.history.steps.append(step)
        values = {"batch_loss": step.loss, "gradient_norm": step.gradient_norm, "learning_rate": step.learning_rate}
        self.logger.metrics({f"curve/{name}": value for name, value in values.items()}, step.step)

    @torch.inference_mode()
    def _measure(self, examples: Examples) -> tuple[float, float]:
        """Return mean loss and accuracy over the first `eval_batches` batches, rows counting as in training."""
        self.model.eval()
        loss = weight = right = rows = 0.0
        for chosen in in_order(len(examples), self.config.batch_size)[: self.config.eval_batches]:
            measured = self._measure_batch(self._batch(examples, chosen))
            loss += measured.loss.item()
            weight += measured.weight.item()
            right += measured.right.item()
            rows += len(chosen)
        return loss / weight, right / rows

    def _evaluate(self, step: int, seen: int) -> None:
        train, validation = self._measure(self.train), self._measure(self.validation)
        evaluation = Evaluation(step, self._epoch(step), seen, *train, *validation)
        if not math.isfinite(evaluation.validation_loss):
            raise NotFinite(f"the validation loss after step {step} is {evaluation.validation_loss}; {REMEDY}")
        history = self.history
        history.evaluations.append(evaluation)
        values = asdict(evaluation)
        del values["step"]
        self.logger.metrics({f"curve/{name}": value for name, value in values.items()}, step)
        if history.best is None or evaluation.validation_loss < history.best.validation_loss:
            history.best = evaluation
            self.save_best()
