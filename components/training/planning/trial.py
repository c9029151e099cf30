"""A training before it is run: what it would put through its network, and how long that takes.

Time is measured on a few of its own steps, with a network that is thrown away.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import chain, islice, repeat
from typing import Any

import numpy as np
import torch
from torch import nn

from components.models.devices import seconds_of
from components.models.memory import freed_memory_kept
from components.training.batching import in_batches, steps_per_epoch
from components.training.config import Recipe, rows_per_step
from components.training.loop import total_steps
from components.training.objectives import SPLITS, Objective, Split

LOOKED_AT = 20_000
"""Most steps that are looked at for the batch that takes most."""
BUDGET = 3.0
"""Seconds after which no further batch is timed."""
LONGEST_TURN = 5.0
"""A batch that would take longer is timed with fewer rows."""
TIMED = 8
"""Most batches that are timed."""
AVERAGED = 200
"""Steps whose batches are looked at to know how large batches are on average."""
WRITTEN = 1e9
"""Bytes of trained weights that are written in a second, at every evaluation that is the best so far."""


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

    `outline` makes its network without content, `learn` says what a network learns from which rows, `reads_weights`
    whether it starts from weights in files, `writes_weights` whether it leaves more than an adapter. `converted` are
    the bytes of the weights that an evaluation's sample is decoded with, beside the network's own, `kept` those of
    what steps before it have made: of files that are read as if they were memory, and of kernels.
    """

    outline: Callable[[], nn.Module]
    learn: Callable[[Any], Objective]
    reads_weights: bool = False
    writes_weights: bool = True
    converted: int = 0
    kept: int = 0

    @cached_property
    def objective(self) -> Objective:
        """What the network without content learns."""
        with torch.device("meta"):
            network = self.outline()
        return self.learn(network)

    @property
    def plan(self) -> Plan:
        """How often it does what."""
        return plan(self.objective.config, len(self.objective.train))

    def batches(self, most: int = LOOKED_AT) -> Iterator[list[int]]:
        """Yield the rows of the batches of the run's first steps, in the order in which training takes them."""
        config = self.objective.config
        order = torch.Generator().manual_seed(config.seed)
        steps = chain.from_iterable(self.objective.epoch(order) for _ in repeat(None, config.epochs))
        for rows in islice(steps, min(most, config.max_steps or most)):
            yield from in_batches(rows, config.batch_size)

    def evaluated(self) -> list[tuple[Split, list[int]]]:
        """Return the batches that an evaluation measures, each with its split."""
        return [(split, rows) for split in SPLITS for rows in self.objective.evaluated(split)]

    def heaviest(self) -> tuple[Split, list[int]]:
        """Return the largest batch that is learnt from, or measured, and its split."""
        learnt: Iterator[tuple[Split, list[int]]] = (("train", rows) for rows in self.batches())
        return max(chain(learnt, self.evaluated()), key=lambda batch: self.objective.work(*batch))


@dataclass(frozen=True)
class Timing:
    """Seconds: of one optimiser step and one evaluation, of all of them, of what comes after, and together.

    `frozen` is what the blocks that do not train take, where they are computed once and before.
    """

    step: float
    evaluation: float
    training: float
    evaluating: float
    testing: float
    total: float
    frozen: float = 0.0


@dataclass(frozen=True)
class Besides:
    """Seconds of what a run does besides learning: with an evaluation, before training, and `later`, each by name."""

    sample: float = 0.0
    frozen: float = 0.0
    later: Mapping[str, float] = field(default_factory=dict)


def time_training(network: nn.Module, trial: Trial, ask: Callable[[float], Besides]) -> tuple[Timing, Besides]:
    """Time some steps of a network, whose weights are spoilt, and return what the trial's plan makes of them.

    `ask` makes of the seconds of a token's forward pass those of all that is no learning.
    """
    objective, plan = trial.learn(network.to(trial.objective.device)), trial.plan
    trained = [parameter for parameter in network.train().parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-8, fused=objective.device.type != "mps")

    def learn(batch: Any) -> None:
        measured = objective.measure(batch)
        (measured.loss / measured.weight.clamp(min=1)).backward()  # type: ignore[no-untyped-call]

    with torch.random.fork_rng(), freed_memory_kept():  # as `prepared` has it
        rows = _timed_rows(trial, objective, learn)
        learning = _seconds_a_token(objective, rows, learn)
        optimiser.step()  # makes its moments
        update = seconds_of(optimiser.step, objective.device)
        with torch.inference_mode():
            token = _seconds_a_token(objective, rows, lambda batch: objective.measure(batch).loss.item())
    network.zero_grad()
    besides = ask(token)
    mean = float(np.mean([objective.work("train", rows) for rows in trial.batches(AVERAGED)]))
    step = objective.config.accumulate * learning * mean + update
    evaluation = token * sum(objective.work(*batch) for batch in trial.evaluated()) + besides.sample
    training, testing = plan.steps * step, sum(besides.later.values())
    evaluating = plan.evaluations * (evaluation + sum(parameter.nbytes for parameter in trained) / WRITTEN)
    total = besides.frozen + training + evaluating + testing
    return Timing(step, evaluation, training, evaluating, testing, total, besides.frozen), besides


def _timed_rows(trial: Trial, objective: Objective, learn: Callable[[Any], None]) -> list[list[int]]:
    """Return the rows of the batches to time, none taking too long: the longest, then as they come."""
    size = objective.config.batch_size
    longest = np.argsort(-objective.train.lengths, kind="stable")[:size].tolist()
    one = objective.batch("train", longest[:1])
    learn(one)
    rows = max(1, min(size, int(LONGEST_TURN / max(seconds_of(lambda: learn(one), objective.device), 1e-9))))
    return [longest[:rows], *(batch[:rows] for batch in trial.batches(TIMED))][:TIMED]


def _seconds_a_token(objective: Objective, timed: list[list[int]], work: Callable[[Any], object]) -> float:
    """Return the median of what a token takes in batches, the first of which is done once more to warm up."""
    work(objective.batch("train", timed[0]))
    started, seconds = time.monotonic(), []
    for rows in timed:
        batch = objective.batch("train", rows)
        seconds.append(seconds_of(partial(work, batch), objective.device) / objective.work("train", rows))
        if time.monotonic() - started > BUDGET:
            break
    return float(np.median(seconds))
