"""How long a recipe will take, from a few of its own steps on a network that is thrown away."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from components.models.devices import seconds_of
from components.models.memory import freed_memory_kept
from components.training.objectives import Objective
from components.training.planning.trial import Trial

BUDGET = 3.0
"""Seconds after which no further batch is timed."""
LONGEST_TURN = 5.0
"""A batch that would take longer is timed with fewer rows."""
TIMED = 8
"""Most batches that are timed."""
LOOKED_AT = 200
"""Steps whose batches are looked at to know how large batches are on average."""
WRITTEN = 1e9
"""Bytes of trained weights that are written in a second, at every evaluation that is the best so far."""


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


def time_training(
    network: nn.Module, trial: Trial, ask: Callable[[float], Besides] = lambda _token: Besides()
) -> tuple[Timing, Besides]:
    """Time some steps of a network, whose weights are spoilt, and return what the trial's plan makes of them.

    `ask` makes of the seconds of a token's forward pass those of all that is no learning.
    """
    config, plan, device, objective = trial.config, trial.plan, trial.device, trial.learn(network.to(trial.device))
    trained = [parameter for parameter in network.train().parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-8, fused=device.type != "mps")

    def learn(batch: Any) -> None:
        measured = objective.measure(batch)
        (measured.loss / measured.weight.clamp(min=1)).backward()  # type: ignore[no-untyped-call]

    with torch.random.fork_rng(), freed_memory_kept():  # as `prepared` has it
        rows = _timed_rows(trial, objective, learn)
        learning = _seconds_a_token(trial, objective, rows, learn)
        optimiser.step()  # makes its moments
        update = seconds_of(optimiser.step, device)
        with torch.inference_mode():
            token = _seconds_a_token(trial, objective, rows, lambda batch: objective.measure(batch).loss.item())
    network.zero_grad()
    besides = ask(token)
    mean = float(np.mean([trial.amount("train", rows) for rows in trial.batches(LOOKED_AT)]))
    step = config.accumulate * learning * mean + update
    evaluation = token * sum(trial.amount(*batch) for batch in trial.evaluated()) + besides.sample
    training, testing = plan.steps * step, sum(besides.later.values())
    evaluating = plan.evaluations * (evaluation + sum(parameter.nbytes for parameter in trained) / WRITTEN)
    total = besides.frozen + training + evaluating + testing
    return Timing(step, evaluation, training, evaluating, testing, total, besides.frozen), besides


def _timed_rows(trial: Trial, objective: Objective, learn: Callable[[Any], None]) -> list[list[int]]:
    """Return the rows of the batches to time, none taking too long: the longest, then as they come."""
    size = trial.config.batch_size
    longest = np.argsort(-trial.lengths["train"], kind="stable")[:size].tolist()
    one = objective.batch("train", longest[:1])
    learn(one)
    rows = max(1, min(size, int(LONGEST_TURN / max(seconds_of(lambda: learn(one), trial.device), 1e-9))))
    return [longest[:rows], *(batch[:rows] for batch in trial.batches(TIMED))][:TIMED]


def _seconds_a_token(
    trial: Trial, objective: Objective, timed: list[list[int]], work: Callable[[Any], object]
) -> float:
    """Return the median of what a token takes in batches, the first of which is done once more to warm up."""
    work(objective.batch("train", timed[0]))
    started, seconds = time.monotonic(), []
    for rows in timed:
        batch = objective.batch("train", rows)
        seconds.append(seconds_of(partial(work, batch), trial.device) / trial.amount("train", rows))
        if time.monotonic() - started > BUDGET:
            break
    return float(np.median(seconds))
