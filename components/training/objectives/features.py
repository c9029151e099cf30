"""Learning to tell classes apart where the blocks below do not train, and what they say of every text is there."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from components.models.devices import autocast
from components.models.fast.states import States
from components.models.fast.tail import finish
from components.training.batching import Batch
from components.training.objectives import Measured, Split
from components.training.objectives.classification import Classification


@dataclass(kw_only=True)
class Features(Classification):
    """The same rows, order and losses as `Classification`; its model is taken up where `states` leave off."""

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
