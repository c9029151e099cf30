"""Learning to tell classes apart: the cross entropy of a text's label."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from components.models.classifier import Classifier
from components.models.devices import autocast
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
