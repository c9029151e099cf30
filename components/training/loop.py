"""The training loop: steps, evaluations, and what is kept of them."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from components.core.errors import ConfigError, TrainingError
from components.core.interruptions import interruptions_held_back
from components.core.process_memory import give_freed_back
from components.core.records import Logger
from components.training.batching import TokenRows, in_batches, steps_per_epoch
from components.training.config import Recipe, rows_per_step
from components.training.history import Evaluation, History, Sample, Step, log_evaluation, log_step
from components.training.objectives import Objective, Split

Progress = Callable[[int, int, float, float], None]
"""Told after every step its number, the first being 1, its epoch, loss and accuracy."""

REMEDY = "lower train.learning_rate, set train.clip=1.0, or use train.precision=fp32"


class NotFinite(TrainingError):
    """A loss or a gradient is not a finite number; `rows` of `split` are those that it came from."""

    def __init__(self, message: str, rows: list[int], split: Split = "train") -> None:
        super().__init__(message)
        self.rows = rows
        self.split = split

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (str(self), self.rows, self.split), self.__dict__)


def total_steps(config: Recipe, rows: int) -> int:
    """Return the number of optimiser steps that `rows` training rows make, unless training stops early."""
    steps = config.epochs * steps_per_epoch(rows, rows_per_step(config))
    return min(steps, config.max_steps or steps)


def tokens_in_all(config: Recipe, train: TokenRows) -> int:
    """Return about how many tokens training reads, unless it stops early."""
    rows = total_steps(config, len(train)) * rows_per_step(config)
    return int(rows * train.lengths.mean())


@dataclass
class Trainer:
    """A training of the objective's model, by the objective's recipe.

    The tensors that train are written to `best` whenever the validation loss is the lowest so far; `sample` lets a
    language model say something at every evaluation.
    `history` can be read while `fit` runs, and one that is not empty is gone on from
    (`components.training.checkpoints`): as if there had been no interruption, bit by bit.
    """

    objective: Objective
    logger: Logger
    progress: Progress
    best: Path | None
    sample: Callable[[Evaluation], Sample] | None = None
    history: History = field(default_factory=History)
    optimiser: torch.optim.AdamW = field(init=False)
    random_state: dict[str, Tensor] = field(init=False, default_factory=dict)
    """That of torch's generators after the last step or evaluation, by device."""

    def __post_init__(self) -> None:
        self.model, self.config, self.device = self.objective.model, self.objective.config, self.objective.device
        self.weights: list[Tensor] = [tensor for tensor in self.model.parameters() if tensor.requires_grad]
        # Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019.
        self.optimiser = torch.optim.AdamW(
            self.weights,
            lr=self.config.learning_rate,
            weight_decay=self.config.weight_decay,
            fused=self.device.type != "mps",
        )

    def fit(self, after_step: Callable[[], None] = lambda: None) -> History:
        """Train; return the history. The model is left with its last weights.

        `after_step` is called when a step has been taken and, if that is due, evaluated.

        Raises:
            NotFinite: if a loss or a gradient is not a finite number; the step is not taken.
        """
        factor = learning_rate_factor(self.config, self.total)
        self.random_state = random_state(self.device)
        if self.taken not in (evaluation.step for evaluation in self.history.evaluations) and self._is_due():
            self._evaluate()
        for epoch, rows in self._rows():
            evaluations, best, patience = self.history.evaluations, self.history.best, self.config.early_stopping
            stale = patience and best and len(evaluations) - 1 - evaluations.index(best) >= patience
            if self.taken == self.total or stale:
                break
            rate = self.config.learning_rate * factor(self.taken)
            loss, accuracy = self._step(rows, rate)
            self.progress(self.taken, epoch, loss, accuracy)
            if self._is_due():
                self._evaluate()
            after_step()
        return self.history

    @property
    def taken(self) -> int:
        """How many steps have been taken."""
        return len(self.history.steps)

    @property
    def total(self) -> int:
        """How many steps there will be, unless training stops early."""
        return total_steps(self.config, self._count)

    def release(self) -> None:
        """Free gradients and moments once no step follows: weights that are read and written then need the room."""
        self.optimiser.zero_grad(set_to_none=True)
        self.optimiser.state.clear()
        give_freed_back()

    def _is_due(self) -> bool:
        return self.taken % self.config.eval_every == 0 or self.taken == self.total

    def _rows(self) -> Iterator[tuple[int, list[int]]]:
        """Yield the epoch, from 1, and the rows of every step that has not been taken, without an end."""
        order = torch.Generator().manual_seed(self.config.seed)
        skipped = self.taken
        for epoch in count(1):
            for rows in self.objective.epoch(order):
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
        for what, value in (("loss", loss), ("gradient's norm", norm)):
            if not math.isfinite(value):
                raise NotFinite(f"the {what} of step {step} is {value}; {REMEDY}", rows)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        examples, tokens = self._seen
        seen = examples + len(rows), tokens + self.objective.tokens(rows)
        with interruptions_held_back():  # weights, moments and history belong together
            self.optimiser.step()
            self.history.steps.append(Step(step, self._epoch(step), *seen, loss, norm, rate))
            self.random_state = random_state(self.device)
            log_step(self.logger, self.history.steps[-1])
        return loss, accuracy

    @property
    def _count(self) -> int:
        return len(self.objective.train)

    @property
    def _seen(self) -> tuple[int, int]:
        """How many examples and tokens have been learnt from."""
        last = self.history.steps[-1] if self.history.steps else None
        return (last.examples_seen, last.tokens_seen) if last else (0, 0)

    def _accumulate(self, rows: list[int]) -> tuple[float, float]:
        """Add up the gradients of a step's batches; return its loss and accuracy.

        Each batch counts by the weight of its rows in the whole step, so that the gradient is that of one large batch.
        """
        self.model.train()
        weight = self.objective.weight(rows)
        loss = right = predictions = 0.0
        for batch in in_batches(rows, self.config.batch_size):
            measured = self.objective.measure(self.objective.batch("train", batch))
            share = measured.loss / weight
            share.backward()  # type: ignore[no-untyped-call]
            loss += share.item()
            right += measured.right.item()
            predictions += measured.predictions
        return loss, right / max(predictions, 1)

    def _epoch(self, step: int) -> float:
        return step / steps_per_epoch(self._count, rows_per_step(self.config))

    @torch.inference_mode()
    def _measure(self, split: Split) -> tuple[float, float]:
        """Return mean loss and accuracy over the first `eval_batches` batches, rows counting as in training."""
        self.model.eval()
        loss = weight = right = predictions = 0.0
        for rows in self.objective.evaluated(split):
            measured = self.objective.measure(self.objective.batch(split, rows))
            if not math.isfinite(measured.loss.item()):
                remedy = REMEDY if self.taken else "look at model.weights, and at these rows"
                where = f"the loss of {len(rows)} {split} rows after step {self.taken}"
                raise NotFinite(f"{where} is {measured.loss.item()}; {remedy}", rows, split)
            loss += measured.loss.item()
            weight += measured.weight.item()
            right += measured.right.item()
            predictions += measured.predictions
        return (loss / weight if weight else 0.0), right / max(predictions, 1)

    def _evaluate(self) -> None:
        step = self.taken
        measured = *self._measure("train"), *self._measure("validation")
        evaluation = Evaluation(step, self._epoch(step), *self._seen, *measured)
        samples = [self.sample(evaluation)] if self.sample else []
        history = self.history
        with interruptions_held_back():  # history and weights belong together
            history.evaluations.append(evaluation)
            history.samples += samples
            if history.best is None or evaluation.validation_loss < history.best.validation_loss:
                history.best = evaluation
                if self.best:
                    draft = self.best.with_suffix(".part")
                    save_file(trained_weights(self.model), draft)
                    draft.replace(self.best)
            self.random_state = random_state(self.device)
            log_evaluation(self.logger, evaluation, self.objective.is_language_model)


def trained_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return the tensors that train by name, on the CPU."""
    return {name: tensor.detach().cpu() for name, tensor in model.named_parameters() if tensor.requires_grad}


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Return the state of torch's generators, by device."""
    state = {"cpu": torch.get_rng_state()}
    return state | {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else state


def warmup_steps(config: Recipe, total: int) -> int:
    """Return how many of `total` steps the learning rate rises.

    Raises:
        ConfigError: if that is all of them.
    """
    steps = round(config.warmup * total) if config.warmup < 1 else int(config.warmup)
    if steps >= total > 1:
        raise ConfigError(
            f"train.warmup={config.warmup:g} is {steps} steps, but the run has {total}: set it below, or train longer"
        )
    return steps


def learning_rate_factor(config: Recipe, total: int) -> Callable[[int], float]:
    """Return the function from a step (0 is the first) to the share of `learning_rate` that it is taken with.

    The rise goes in equal parts to 1; the cosine falls to 0 at the end of the run (Loshchilov and Hutter, "SGDR", 2017,
    without restarts).
    """
    warmup = warmup_steps(config, total)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        if config.schedule == "constant":
            return 1.0
        done = (step - warmup) / max(total - warmup, 1)
        return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))

    return factor
