"""What a recipe puts through its network, batch by batch, without doing it.

Shapes: N rows.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice, repeat

import numpy as np
import torch
from numpy.typing import NDArray

from components.training.batching import in_batches
from components.training.config import Recipe
from components.training.objectives import Objective, Split

LOOKED_AT = 20_000
"""Most steps that are looked at for the batch that takes most."""


@dataclass(frozen=True)
class Rows:
    """How many tokens of each row of a split are read (N), and from how many of them something is learnt (N)."""

    lengths: NDArray[np.int64]
    targets: NDArray[np.int64]

    @classmethod
    def labelled(cls, lengths: NDArray[np.int64]) -> "Rows":
        """Return the rows of a classifier, which learns from no token but from each row's label."""
        return cls(lengths, np.zeros_like(lengths))

    def __len__(self) -> int:
        return len(self.lengths)


@dataclass(frozen=True)
class Workload:
    """A run's rows, how they are dealt to batches, and how large those are.

    `length` is what every row is padded to, or None: the longest of its batch. `packed` rows are not padded. `target`
    is how many tokens' work it is to learn from one, besides reading it.
    """

    objective: Objective
    rows: Mapping[Split, Rows]
    config: Recipe
    length: int | None = None
    packed: bool = False
    target: float = 0.0

    def tokens(self, split: Split, rows: list[int]) -> int:
        """Return how many tokens a batch has with its padding; packed ones are taken to have none."""
        lengths = self.rows[split].lengths[rows]
        return int(lengths.sum()) if self.packed else len(rows) * int(self.length or lengths.max())

    def amount(self, split: Split, rows: list[int]) -> float:
        """Return how much a batch is, in tokens."""
        return self.tokens(split, rows) + self.target * float(self.rows[split].targets[rows].sum())

    def steps(self, most: int = LOOKED_AT) -> Iterator[list[int]]:
        """Yield the rows of the run's first steps, in the order in which training takes them."""
        order = torch.Generator().manual_seed(self.config.seed)
        every = chain.from_iterable(self.objective.epoch(order) for _ in repeat(None, self.config.epochs))
        return islice(every, min(most, self.config.max_steps or most))

    def batches(self, most: int = LOOKED_AT) -> Iterator[list[int]]:
        """Yield the rows of the batches that those steps have."""
        for rows in self.steps(most):
            yield from in_batches(rows, self.config.batch_size)

    def evaluation(self, split: Split) -> list[list[int]]:
        """Return the batches that an evaluation measures."""
        return list(islice(in_batches(range(len(self.rows[split])), self.config.batch_size), self.config.eval_batches))

    def heaviest(self) -> list[int]:
        """Return the rows of the largest batch in training."""
        return max(self.batches(), key=lambda rows: self.amount("train", rows))

    def heaviest_evaluated(self) -> tuple[Split, list[int]]:
        """Return the largest batch of those that an evaluation measures, and its split."""
        splits: tuple[Split, ...] = ("train", "validation")
        batches = [(split, rows) for split in splits for rows in self.evaluation(split)]
        return max(batches, key=lambda batch: self.amount(*batch))
