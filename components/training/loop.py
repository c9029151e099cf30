"""The training loop of a classifier."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import count

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.errors import TrainingError
from components.records import Logger
from components.training.batching import Batch, Examples, in_order, pad, shuffled, steps_per_epoch
from components.training.config import TrainConfig
from components.training.devices import autocast
from components.training.progress import Progress

REMEDY = "lower train.learning_rate, set train.clip=1.0, or use train.precision=fp32"


@dataclass(frozen=True)
class Step:
    """One optimiser step: mean cross entropy of its batch, and the gradient's norm before clipping."""

    step: int
    epoch: float
    examples_seen: int
    loss: float
    gradient_norm: float


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


def total_steps(config: TrainConfig, rows: int) -> int:
    """Return the number of optimiser steps that `rows` training rows make."""
    steps = config.epochs * steps_per_epoch(rows, config.batch_size)
    return min(steps, config.max_steps or steps)


@dataclass
class Trainer:
    """A model, what it learns from, and how.

    `save_best` is called whenever the validation loss is the lowest so far.
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

    def fit(self) -> History:
        """Train; return the history. The model is left with its last weights.

        AdamW: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019.

        Raises:
            TrainingError: if a loss is not a finite number.
        """
        config, history = self.config, History()
        weights = [tensor for tensor in self.model.parameters() if tensor.requires_grad]
        optimiser = torch.optim.AdamW(
            weights, lr=config.learning_rate, weight_decay=config.weight_decay, fused=self.device.type != "mps"
        )
        order = torch.Generator().manual_seed(config.seed)
        total, seen = total_steps(config, len(self.train)), 0
        self._evaluate(history, step=0, seen=0)
        for epoch in count(1):
            for rows in shuffled(self.train, config.batch_size, order):
                step = len(history.steps) + 1
                batch = self._batch(self.train, rows)
                self.model.train()
                loss, correct = self._loss(batch)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                norm = nn.utils.clip_grad_norm_(weights, config.clip or math.inf)
                optimiser.step()
                seen += len(rows)
                self._record(history, Step(step, self._epoch(step), seen, loss.item(), norm.item()))
                self.progress(epoch, loss.item(), correct.float().mean().item())
                if step % config.eval_every == 0 or step == total:
                    self._evaluate(history, step, seen)
                if step == total:
                    return history
        raise AssertionError("unreachable")

    def _epoch(self, step: int) -> float:
        return step / steps_per_epoch(len(self.train), self.config.batch_size)

    def _batch(self, examples: Examples, rows: list[int]) -> Batch:
        return pad(examples, rows, self.pad_id, self.length).to(self.device)

    def _loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the mean cross entropy of a batch, and which rows (B) were right."""
        with autocast(self.device, self.precision):
            logits = self.model(batch.tokens, batch.lengths)
        logits = logits.float()  # (B, C)
        return F.cross_entropy(logits, batch.labels), logits.argmax(dim=-1) == batch.labels

    def _record(self, history: History, step: Step) -> None:
        if not math.isfinite(step.loss):
            raise TrainingError(f"the loss of step {step.step} is {step.loss}; {REMEDY}")
        history.steps.append(step)
        self.logger.metrics({"curve/batch_loss": step.loss, "curve/gradient_norm": step.gradient_norm}, step.step)

    @torch.inference_mode()
    def _measure(self, examples: Examples) -> tuple[float, float]:
        """Return mean loss and accuracy over the first `eval_batches` batches, every row counting the same."""
        self.model.eval()
        loss_sum = right = rows = 0.0
        for chosen in in_order(examples, self.config.batch_size)[: self.config.eval_batches]:
            loss, correct = self._loss(self._batch(examples, chosen))
            loss_sum += loss.item() * len(chosen)
            right += correct.sum().item()
            rows += len(chosen)
        return loss_sum / rows, right / rows

    def _evaluate(self, history: History, step: int, seen: int) -> None:
        train, validation = self._measure(self.train), self._measure(self.validation)
        evaluation = Evaluation(step, self._epoch(step), seen, *train, *validation)
        if not math.isfinite(evaluation.validation_loss):
            raise TrainingError(f"the validation loss after step {step} is {evaluation.validation_loss}; {REMEDY}")
        history.evaluations.append(evaluation)
        values = asdict(evaluation)
        del values["step"]
        self.logger.metrics({f"curve/{name}": value for name, value in values.items()}, step)
        if history.best is None or evaluation.validation_loss < history.best.validation_loss:
            history.best = evaluation
            self.save_best()
