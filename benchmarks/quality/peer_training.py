"""A fine-tuning by `transformers`, by the recipe of a preset.

AdamW with the recipe's learning rate, schedule, warm-up, weight decay and clipping takes as many steps as our run, in
the precision in which that computes, with the rows in each that our run deals by the same seed; which weights are kept
is decided as there. So what differs is the code that computes, and how dropout falls.

After every evaluation the state is written to the work folder, from which a training that was stopped goes on.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from components.core.errors import ConfigError
from components.models.devices import autocast, pick_device, pick_precision
from components.training.batching import in_batches
from components.training.config import Recipe
from components.training.loop import learning_rate_factor, total_steps

STATE, BEST = "state.pt", "best.pt"
Batch = dict[str, Tensor]


class PeerTraining(ABC):
    """A training of all parameters of `model`, which says what its batches are and what their loss is."""

    def __init__(self, model: nn.Module, rows: int, recipe: Recipe, work: Path) -> None:
        """`rows` are those of the training split.

        Raises:
            ConfigError: if the recipe trains a part only.
        """
        if recipe.trainable != "all" or recipe.accumulate > 1:
            raise ConfigError("the peer trains all parameters, a batch a step; the preset does not")
        self.device = pick_device(recipe.device)
        self.precision = pick_precision(recipe.precision, self.device)
        self.model: Any = model.to(self.device)
        self.recipe, self.work = recipe, work
        self.total = total_steps(recipe, rows)
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
        )
        self.taken, self.lowest, self.seconds = 0, float("inf"), 0.0

    @abstractmethod
    def epoch(self, order: torch.Generator) -> Iterator[list[int]]:
        """Yield the training rows of each step of an epoch, as our run deals them."""

    @abstractmethod
    def batch(self, split: str, rows: Sequence[int]) -> Batch:
        """Return rows of a split, padded."""

    @abstractmethod
    def loss(self, batch: Batch) -> Tensor:
        """Return the mean loss of a batch."""

    @abstractmethod
    def targets(self, batch: Batch) -> int:
        """Return how many targets the loss of a batch is the mean of."""

    @abstractmethod
    def validation_rows(self) -> int:
        """Return how many rows the validation split has."""

    def fit(self) -> None:
        """Train to the end, from where an earlier attempt was stopped, and take the weights that are kept."""
        self._go_on()
        factor = learning_rate_factor(self.recipe, self.total)
        steps = self._steps()
        for _ in range(self.taken):
            next(steps)
        started = time.monotonic() - self.seconds
        while self.taken < self.total:
            self._step(next(steps), self.recipe.learning_rate * factor(self.taken))
            if self.taken % self.recipe.eval_every == 0 or self.taken == self.total:
                self._evaluate(started)
        if self.recipe.keep == "best":
            self.model.load_state_dict(torch.load(self.work / BEST))
        self.model.eval()

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context of a forward pass."""
        return autocast(self.device, self.precision)

    def _steps(self) -> Iterator[list[int]]:
        order = torch.Generator().manual_seed(self.recipe.seed)
        while True:
            yield from self.epoch(order)

    def _step(self, rows: Sequence[int], rate: float) -> None:
        self.model.train()
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        with self.autocast():
            loss = self.loss(self.moved("train", rows))
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip or float("inf"))
        self.optimiser.step()
        self.taken += 1
        print(f"step {self.taken} of {self.total}: loss {loss.item():.4f}", flush=True)

    def moved(self, split: str, rows: Sequence[int]) -> Batch:
        """Return a batch where the model is."""
        return {name: each.to(self.device) for name, each in self.batch(split, rows).items()}

    @torch.inference_mode()
    def _validation_loss(self) -> float:
        """Return the mean loss over the batches that our run evaluates on."""
        self.model.eval()
        loss, targets = 0.0, 0
        batches = in_batches(range(self.validation_rows()), self.recipe.batch_size)
        for rows in islice(batches, self.recipe.eval_batches):
            batch = self.moved("validation", rows)
            count = self.targets(batch)
            with self.autocast():
                loss += self.loss(batch).item() * count
            targets += count
        return loss / targets

    def _evaluate(self, started: float) -> None:
        """Keep the weights if they are the best so far, and write down where the training stands."""
        loss = self._validation_loss()
        print(f"step {self.taken} of {self.total}: validation loss {loss:.4f}", flush=True)
        if loss < self.lowest:
            self.lowest = loss
            save(self.model.state_dict(), self.work / BEST)
        self.seconds = time.monotonic() - started
        state = {"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict()}
        save({**state, "taken": self.taken, "lowest": self.lowest, "seconds": self.seconds}, self.work / STATE)

    def _go_on(self) -> None:
        if not (self.work / STATE).is_file():
            return
        state = torch.load(self.work / STATE)
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.taken, self.lowest, self.seconds = state["taken"], state["lowest"], state["seconds"]


def save(state: Any, path: Path) -> None:
    """Write a state, which takes the place of an earlier one when it is whole."""
    draft = path.with_suffix(".part")
    torch.save(state, draft)
    draft.replace(path)


def padded(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    """Return rows (B) side by side (B, T), filled up on the right."""
    return nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=value)
