"""What is learnt: between the loop, which knows of steps and losses, and the rows of a task."""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, Protocol, get_args

import torch
from torch import Tensor

from components.models.classifier import Classifier
from components.models.language_model import LanguageModel
from components.training.batching import TokenRows
from components.training.config import Recipe

Split = Literal["train", "validation"]
SPLITS: tuple[Split, ...] = get_args(Split)


class Measured(NamedTuple):
    """A batch's weighted sum of cross entropies, the sum of the weights, and how many of `predictions` were right."""

    loss: Tensor
    weight: Tensor
    right: Tensor
    predictions: int


class Objective(Protocol):
    """A model, the rows to learn from, how they are dealt to steps and put into batches, and how one is measured."""

    @property
    def model(self) -> Classifier | LanguageModel:
        """What learns, on `device`."""

    @property
    def config(self) -> Recipe:
        """How."""

    @property
    def device(self) -> torch.device:
        """Where."""

    @property
    def precision(self) -> str:
        """Numbers that are multiplied, `fp32` or `bf16`."""

    @property
    def is_language_model(self) -> bool:
        """Whether the loss is that of the next token, so that its exponential is a perplexity."""

    def rows(self, split: Split) -> TokenRows:
        """Return the rows of a split."""

    def epoch(self, order: torch.Generator) -> Iterator[list[int]]:
        """Yield the training rows of each step of one epoch."""

    def batch(self, split: Split, rows: list[int]) -> Any:
        """Return these rows of a split as one batch, for `measure`."""

    def weight(self, rows: list[int]) -> Tensor:
        """Return how much these training rows count together."""

    def tokens(self, rows: list[int]) -> int:
        """Return how many tokens these training rows have."""

    def measure(self, batch: Any) -> Measured:
        """Let the model read a batch, and compare what it says with what is true."""
