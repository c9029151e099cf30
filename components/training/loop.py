"""The training loop of a classifier."""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import count, islice
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.errors import TrainingError
from components.interruptions import interruptions_held_back
from components.records import Logger
from components.training.batching import Batch, Examples, in_batches, pad, shuffled, steps_per_epoch
from components.training.config import TrainConfig
from components.training.devices import autocast
from components.training.progress import Progress
from components.training.schedule import learning_rate_factor

Split = Literal["train", "validation"]

REMEDY = "lower train.learning_rate, set train.clip=1.0, or use train.precision=fp32"


class NotFinite(TrainingError):
    """A loss or a gradient is not a finite number; `rows` of `split` are those that it came from."""

    def __init__(self, message: str, rows: list[int], split: Split = "train") -> None:
        super().__init__(message)
        self.rows = rows
        self.split = split

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (str(self), self.rows, self.split), self.__dict__)


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
    called whenever the validation loss is the lowest so far. `history` can be read while `fit` runs, and one that is
    not empty is gone on from (`components.training.checkpoint`): as if there had been no interruption, bit by bit.
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
    optimiser: torch.optim.AdamW = field(init=False)
    random_state: dict[str, Tensor] = field(init=False, default_factory=dict)
    """That of torch's generators after the last step, by device."""

    def __post_init__(self) -> None:
        self.weights = [tensor for tensor in self.model.parameters() if tensor.requires_grad]
        # Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019.
        self.optimiser = torch.optim.AdamW(
            self.weights,
            lr=self.config.learning_rate,
            weight_decay=self.config.weight_decay,
            fused=self.device.type != "mps",
        )

    def fit(self) -> History:
        """Train; return the history. The model is left with its last weights.

        Raises:
            NotFinite: if a loss or a gradient is not a finite number; the step is not taken.
        """
        factor = learning_rate_factor(self.config, self.total)
        self.random_state = random_state(self.device)
        if self.taken not in (evaluation.step for evaluation in self.history.evaluations) and self._is_due():
            self._evaluate()
        for epoch, rows in self._rows():
            if self._is_over():
                break
            rate = self.config.learning_rate * factor(self.taken)
            loss, accuracy = self._step(rows, rate)
            self.progress(self.taken, epoch, loss, accuracy)
            if self._is_due():
                self._evaluate()
        return self.history

    @property
    def taken(self) -> int:
        """How many steps have been taken."""
        return len(self.history.steps)

    @property
    def total(self) -> int:
        """How many steps there will be, unless training stops early."""
        return total_steps(self.config, len(self.train))

    def _is_due(self) -> bool:
        return self.taken % self.config.eval_every == 0 or self.taken == self.total

    def _is_over(self) -> bool:
        patience = self.config.early_stopping
        return self.taken == self.total or bool(patience and self.history.evaluations_since_best >= patience)

    def _rows(self) -> Iterator[tuple[int, list[int]]]:
        """Yield the epoch, from 1, and the rows of every step that has not been taken, without an end."""
        order = torch.Generator().manual_seed(self.config.seed)
        skipped = self.taken
        for epoch in count(1):
            for rows in shuffled(len(self.train), rows_per_step(self.config), order):
                if skipped:
                    skipped -= 1
                else:
                    yield epoch, rows

    def _step(self, rows: list[int], rate: float) -> tuple[float, float]:
        """Take one optimiser step; return its loss and accuracy."""
        self.optimiser.zero_grad(set_to_none=True)
        loss, accuracy = self._accumulate(rows)
        norm = nn.utils.clip_grad_norm_(self.weights, self.config.clip or math.inf).item()
        step = self.taken + 1
        self._check_finite(step, rows, loss, norm)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        seen = self._seen() + len(rows)
        with interruptions_held_back():  # weights, moments and history belong together
            self.optimiser.step()
            self.history.steps.append(Step(step, self._epoch(step), seen, loss, norm, rate))
            self.random_state = random_state(self.device)
            log_step(self.logger, self.history.steps[-1])
        return loss, accuracy

    def _seen(self) -> int:
        return self.history.steps[-1].examples_seen if self.history.steps else 0

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

    @torch.inference_mode()
    def _measure(self, split: Split) -> tuple[float, float]:
        """Return mean loss and accuracy over the first `eval_batches` batches, rows counting as in training."""
        self.model.eval()
        examples = self.train if split == "train" else self.validation
        loss = weight = right = rows = 0.0
        for chosen in islice(in_batches(range(len(examples)), self.config.batch_size), self.config.eval_batches):
            measured = self._measure_batch(self._batch(examples, chosen))
            if not math.isfinite(measured.loss.item()):
                remedy = REMEDY if self.taken else "look at model.weights, and at these rows"
                where = f"the loss of {len(chosen)} {split} rows after step {self.taken}"
                raise NotFinite(f"{where} is {measured.loss.item()}; {remedy}", chosen, split)
            loss += measured.loss.item()
            weight += measured.weight.item()
            right += measured.right.item()
            rows += len(chosen)
        return loss / weight, right / rows

    def _evaluate(self) -> None:
        step, seen = self.taken, self._seen()
        evaluation = Evaluation(step, self._epoch(step), seen, *self._measure("train"), *self._measure("validation"))
        with interruptions_held_back():  # history and weights belong together
            self._note(evaluation)

    def _note(self, evaluation: Evaluation) -> None:
        history = self.history
        history.evaluations.append(evaluation)
        if history.best is None or evaluation.validation_loss < history.best.validation_loss:
            history.best = evaluation
            self.save_best()
        log_evaluation(self.logger, evaluation)


def log_step(logger: Logger, step: Step) -> None:
    """Log a step's numbers as `curve/...`."""
    values = {"batch_loss": step.loss, "gradient_norm": step.gradient_norm, "learning_rate": step.learning_rate}
    logger.metrics({f"curve/{name}": value for name, value in values.items()}, step.step)


def log_evaluation(logger: Logger, evaluation: Evaluation) -> None:
    """Log an evaluation's numbers as `curve/...`."""
    values = asdict(evaluation)
    step = values.pop("step")
    logger.metrics({f"curve/{name}": value for name, value in values.items()}, step)


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Return the state of torch's generators, by device."""
    state = {"cpu": torch.get_rng_state()}
    return state | {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else state
