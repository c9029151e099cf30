"""Learning to tell classes apart where the blocks below do not train, and what they say of every text is there."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from components.models.devices import autocast
from components.models.fast.states import States
from components.models.fast.tail import finish
from components.training.objectives import Measured, Split
from components.training.objectives.classification import Classification


@dataclass(frozen=True)
class StateBatch:
    """A batch of texts as states (B, T, D), their true lengths (B), and class ids (B)."""

    states: Tensor
    lengths: Tensor
    labels: Tensor


@dataclass(kw_only=True)
class Features(Classification):
    """The same rows, order and losses as `Classification`; its model is taken up where `states` leave off."""

    states: Mapping[Split, States]

    def batch(self, split: Split, rows: list[int]) -> StateBatch:  # type: ignore[override]
        """Return the states of these rows of a split."""
        values, lengths = self.states[split].batch(rows)
        labels = torch.from_numpy(self.rows(split).labels[rows])
        return StateBatch(values.to(self.device), lengths.to(self.device), labels.to(self.device))

    def measure(self, batch: StateBatch) -> Measured:  # type: ignore[override]
        """Classify a batch, and compare what comes out with its labels."""
        with autocast(self.device, self.precision):
            logits = finish(self.model, batch.states, batch.lengths, self.states["train"].blocks)
        return self.compare(logits.float(), batch.labels)
