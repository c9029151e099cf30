"""Learning to tell classes apart: the cross entropy of a text's label."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from components.models.classifier import Classifier
from components.models.devices import autocast
from components.training.batching import Batch, Examples, pad, shuffled
from components.training.config import TrainConfig, rows_per_step
from components.training.objectives import Measured, Split


@dataclass
class Classification:
    """A classifier and labelled texts. `class_weights` (C) say how much a row of each class counts in the loss."""

    model: Classifier
    train: Examples
    validation: Examples
    config: TrainConfig
    device: torch.device
    precision: str
    pad_id: int
    length: int | None
    class_weights: Tensor | None = None
    is_language_model: ClassVar[bool] = False

    def rows(self, split: Split) -> Examples:
        """Return the rows of a split."""
        return self.train if split == "train" else self.validation

    def epoch(self, order: torch.Generator) -> Iterator[list[int]]:
        """Yield the training rows of each step of one epoch, in random order."""
        return shuffled(len(self.train), rows_per_step(self.config), order)

    def batch(self, split: Split, rows: list[int]) -> Batch:
        """Return these rows of a split, padded."""
        batch = pad(self.rows(split), rows, self.pad_id, self.length)
        return replace(batch, places=self.model.places(batch.tokens, batch.lengths)).to(self.device)

    def weight(self, rows: list[int]) -> Tensor:
        """Return how much these training rows count together."""
        return self._weights(torch.from_numpy(self.train.labels[rows]).to(self.device)).sum()

    def tokens(self, rows: list[int]) -> int:
        """Return how many tokens these training rows have."""
        return int(self.train.lengths[rows].sum())

    def measure(self, batch: Batch) -> Measured:
        """Classify a batch, and compare what comes out with its labels."""
        with autocast(self.device, self.precision):
            logits = self.model(batch.tokens, batch.lengths, batch.places)
        return self.compare(logits.float(), batch.labels)

    def compare(self, logits: Tensor, labels: Tensor) -> Measured:
        """Compare logits (B, C) with labels (B)."""
        loss = F.cross_entropy(logits, labels, self.class_weights, reduction="sum")
        right = (logits.argmax(dim=-1) == labels).sum()
        return Measured(loss, self._weights(labels).sum(), right, len(labels))

    def _weights(self, labels: Tensor) -> Tensor:
        """Return how much each row counts: class ids (B) to (B)."""
        return (
            torch.ones_like(labels, dtype=torch.float32) if self.class_weights is None else self.class_weights[labels]
        )
