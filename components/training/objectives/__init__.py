"""What is learnt: between the loop, which knows of steps and losses, and the rows of a task."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, Generic, Literal, NamedTuple, TypeVar, get_args

import torch
from torch import Tensor

from components.models.classifier import Classifier
from components.models.language_model import LanguageModel
from components.training.batching import Rows, in_batches, shuffled
from components.training.config import Recipe, rows_per_step

Split = Literal["train", "validation"]
SPLITS: tuple[Split, ...] = get_args(Split)
Model = TypeVar("Model", bound=Classifier | LanguageModel)
Options = TypeVar("Options", bound=Recipe)


class Measured(NamedTuple):
    """A batch's weighted sum of cross entropies, the sum of the weights, and how many of `predictions` were right."""

    loss: Tensor
    weight: Tensor
    right: Tensor
    predictions: int


@dataclass
class ObjectiveOf(ABC, Generic[Model, Rows, Options]):
    """A model, the rows to learn from, how they are dealt to steps and put into batches, and how one is measured.

    The model is on `device`, and multiplies in `precision`, `fp32` or `bf16`.
    """

    model: Model
    train: Rows
    validation: Rows
    config: Options
    device: torch.device
    precision: str
    is_language_model: ClassVar[bool]
    """Whether the loss is that of the next token, so that its exponential is a perplexity."""

    def rows(self, split: Split) -> Rows:
        """Return the rows of a split."""
        return self.train if split == "train" else self.validation

    def tokens(self, rows: list[int]) -> int:
        """Return how many tokens these training rows have."""
        return int(self.train.lengths[rows].sum())

    def padded(self, split: Split, rows: list[int]) -> int:
        """Return how many tokens these rows of a split have as one batch, with its padding."""
        return len(rows) * int(self.rows(split).lengths[rows].max())

    def work(self, split: Split, rows: list[int]) -> float:
        """Return how much work these rows of a split are as one batch, in tokens that pass through the network."""
        return self.padded(split, rows)

    def epoch(self, order: torch.Generator) -> Iterator[list[int]]:
        """Yield the training rows of each step of one epoch, in random order."""
        return shuffled(len(self.train), rows_per_step(self.config), order)

    def evaluated(self, split: Split) -> Iterator[list[int]]:
        """Yield the rows of the batches of a split that an evaluation measures, the first `eval_batches`."""
        return islice(in_batches(range(len(self.rows(split))), self.config.batch_size), self.config.eval_batches)

    @abstractmethod
    def batch(self, split: Split, rows: list[int]) -> Any:
        """Return these rows of a split as one batch, for `measure`."""

    @abstractmethod
    def weight(self, rows: list[int]) -> Tensor:
        """Return how much these training rows count together."""

    @abstractmethod
    def measure(self, batch: Any) -> Measured:
        """Let the model read a batch, and compare what it says with what is true."""


Objective = ObjectiveOf[Any, Any, Any]
"""An objective of whatever kind."""
