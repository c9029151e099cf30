"""Learning to tell classes apart: the cross entropy of a text's label."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from components.models.classifier import Classifier
from components.models.devices import autocast
from components.models.fast.states import States
from components.models.fast.tail import finish
from components.training.batching import Batch, Examples, pad
from components.training.config import TrainConfig
from components.training.objectives import Measured, ObjectiveOf, Split


@dataclass
class Classification(ObjectiveOf[Classifier, Examples, TrainConfig]):
    """A classifier and labelled texts. `class_weights` (C) say how much a row of each class counts in the loss."""

    pad_id: int
    length: int | None
    class_weights: Tensor | None = None
    is_language_model = False

    def padded(self, split: Split, rows: list[int]) -> int:
        """Return how many tokens these rows of a split have as one batch, with its padding."""
        return len(rows) * self.length if self.length else super().padded(split, rows)

    def batch(self, split: Split, rows: list[int]) -> Batch:
        """Return these rows of a split, padded."""
        batch = pad(self.rows(split), rows, self.pad_id, self.length)
        return replace(batch, places=self.model.places(batch.tokens, batch.lengths)).to(self.device)

    def weight(self, rows: list[int]) -> Tensor:
        """Return how much these training rows count together."""
        return self._weights(torch.from_numpy(self.train.labels[rows]).to(self.device)).sum()

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


@dataclass(kw_only=True)
class Features(Classification):
    """The same rows, order and losses, where the blocks below do not train: the model is taken up at their `states`."""

    states: Mapping[Split, States]

    def batch(self, split: Split, rows: list[int]) -> Batch:
        """Return the states (B, T, D) of these rows of a split, in the place of their tokens."""
        labels = torch.from_numpy(self.rows(split).labels[rows])
        return Batch(*self.states[split].batch(rows), labels).to(self.device)

    def measure(self, batch: Batch) -> Measured:
        """Classify a batch, and compare what comes out with its labels."""
        with autocast(self.device, self.precision):
            logits = finish(self.model, batch.tokens, batch.lengths, self.states["train"].blocks)
        return self.compare(logits.float(), batch.labels)
