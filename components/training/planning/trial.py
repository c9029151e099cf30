"""A training before it is run: its network without content, and what it would put through it, batch by batch.

Shapes: N rows.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, islice, repeat
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from components.models.config import ModelConfig
from components.training.batching import in_batches, steps_per_epoch
from components.training.config import Recipe, rows_per_step
from components.training.loop import total_steps
from components.training.objectives import SPLITS, Objective, Split

LOOKED_AT = 20_000
"""Most steps that are looked at for the batch that takes most."""


@dataclass(frozen=True)
class Plan:
    """How often a recipe does what, unless it stops early."""

    steps_per_epoch: int
    steps: int
    evaluations: int


def plan(config: Recipe, rows: int) -> Plan:
    """Return the steps and evaluations that `rows` training rows make: one evaluation at first, one at the end."""
    steps = total_steps(config, rows)
    return Plan(steps_per_epoch(rows, rows_per_step(config)), steps, 1 + math.ceil(steps / config.eval_every))


@dataclass
class Trial:
    """A training that is not run.

    `outline` makes its network (`components.training.outline`), `learn` says what a network learns from which rows.
    `vocab_size` is that of a language model, None for others. `length` is what every row is padded to, or None: the
    longest of its batch; `packed` rows are not padded. `extra` (N) says of each split's rows how many tokens' work it
    is to learn from them, besides reading them.
    """

    outline: Callable[[], nn.Module]
    learn: Callable[[Any], Objective]
    model: ModelConfig
    config: Recipe
    device: torch.device
    vocab_size: int | None = None
    length: int | None = None
    packed: bool = False
    extra: Mapping[Split, NDArray[np.float64]] = field(default_factory=dict)

    @cached_property
    def network(self) -> Any:
        """The network without content."""
        with torch.device("meta"):
            return self.outline()

    @cached_property
    def objective(self) -> Objective:
        """What that network learns."""
        return self.learn(self.network)

    @cached_property
    def lengths(self) -> Mapping[Split, NDArray[np.int64]]:
        """How many tokens of each split's rows are read (N)."""
        return {split: self.objective.rows(split).lengths for split in SPLITS}

    @property
    def plan(self) -> Plan:
        """How often it does what."""
        return plan(self.config, len(self.lengths["train"]))

    def tokens(self, split: Split, rows: list[int]) -> int:
        """Return how many tokens a batch has with its padding; packed ones are taken to have none."""
        lengths = self.lengths[split][rows]
        return int(lengths.sum()) if self.packed else len(rows) * int(self.length or lengths.max())

    def amount(self, split: Split, rows: list[int]) -> float:
        """Return how much a batch is, in tokens."""
        return self.tokens(split, rows) + (float(self.extra[split][rows].sum()) if self.extra else 0.0)

    def batches(self, most: int = LOOKED_AT) -> Iterator[list[int]]:
        """Yield the rows of the batches of the run's first steps, in the order in which training takes them."""
        order = torch.Generator().manual_seed(self.config.seed)
        steps = chain.from_iterable(self.objective.epoch(order) for _ in repeat(None, self.config.epochs))
        for rows in islice(steps, min(most, self.config.max_steps or most)):
            yield from in_batches(rows, self.config.batch_size)

    def evaluated(self) -> list[tuple[Split, list[int]]]:
        """Return the batches that an evaluation measures, each with its split."""
        size, most = self.config.batch_size, self.config.eval_batches
        every = [(split, in_batches(range(len(lengths)), size)) for split, lengths in self.lengths.items()]
        return [(split, rows) for split, batches in every for rows in islice(batches, most)]

    def heaviest(self) -> tuple[Split, list[int]]:
        """Return the largest batch that is learnt from, or measured, and its split."""
        learnt: Iterator[tuple[Split, list[int]]] = (("train", rows) for rows in self.batches())
        return max(chain(learnt, self.evaluated()), key=lambda batch: self.amount(*batch))
