"""How long a recipe will take, from a few of its own steps on a network that is thrown away."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from components.models.memory import freed_memory_kept
from components.training.objectives import Objective
from components.training.planning.estimate import Plan
from components.training.planning.workload import Workload

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
class Cost:
    """Seconds of a batch: the same for all, and more for each of what its size is counted in."""

    base: float
    unit: float

    def __call__(self, amount: float, batches: float = 1) -> float:
        """Return the seconds of `batches` with `amount` altogether."""
        return batches * self.base + amount * self.unit


@dataclass
class Stopwatch:
    """A network and its recipe, to be timed. The network's weights are spoilt."""

    network: nn.Module
    objective: Objective
    workload: Workload
    device: torch.device

    def __post_init__(self) -> None:
        self.network.to(self.device)
        self.config = self.workload.config
        trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        self.trained_bytes = sum(parameter.nbytes for parameter in trained)
        self.optimiser = torch.optim.AdamW(trained, lr=1e-8, fused=self.device.type != "mps")

    def time(
        self,
        plan: Plan,
        sample: float = 0.0,
        after: Callable[[Cost], float] = lambda _forward: 0.0,
        before: Callable[[], float] = lambda: 0.0,
    ) -> Timing:
        """Time some steps, and return what `plan` makes of them.

        `sample` is the seconds of what an evaluation does besides measuring; `after` makes of what a forward pass costs
        the seconds of what comes after training; `before` is asked last for those of the frozen blocks, if they are
        computed before.
        """
        with torch.random.fork_rng(), freed_memory_kept():  # as `prepared` has it
            cost, update = self._learning()
            forward = self._line(self._timed_rows(), self._forward)
        batches = list(self.workload.batches(LOOKED_AT))
        mean = float(np.mean([self._amount(rows) for rows in batches]))
        step = self.config.accumulate * cost(mean) + update
        evaluation = self._evaluation(forward) + sample
        training = plan.steps * step
        evaluating = plan.evaluations * (evaluation + self.trained_bytes / WRITTEN)
        testing = after(forward)
        frozen = before()
        total = frozen + training + evaluating + testing
        return Timing(step, evaluation, training, evaluating, testing, total, frozen)

    def _learning(self) -> tuple[Cost, float]:
        """Return the cost of forward and backward pass, and the seconds of the optimiser."""
        self.network.train()
        cost = self._line(self._timed_rows(), self._forward_backward)
        self._seconds(self.optimiser.step)  # makes its moments
        return cost, self._seconds(self.optimiser.step)

    def _timed_rows(self) -> list[list[int]]:
        """Return the rows of the batches to time, none taking too long: the longest, then as they come."""
        size = self.config.batch_size
        longest = np.argsort(-self.workload.rows["train"].lengths, kind="stable")[:size].tolist()
        one = self._batch(longest[:1])
        self._forward_backward(one)
        seconds = self._seconds(lambda: self._forward_backward(one))
        rows = max(1, min(size, int(LONGEST_TURN / max(seconds, 1e-9))))
        return [longest[:rows], *(batch[:rows] for batch in self.workload.batches(TIMED))][:TIMED]

    def _line(self, timed: list[list[int]], work: Callable[[Any], None]) -> Cost:
        """Time `work` on batches, the first once more to warm up, and put a line through amounts and seconds."""
        work(self._batch(timed[0]))
        started, amounts, seconds = time.monotonic(), [], []
        for rows in timed:
            batch = self._batch(rows)
            amounts.append(self._amount(rows))
            seconds.append(self._seconds(lambda batch=batch: work(batch)))  # type: ignore[misc]
            if time.monotonic() - started > BUDGET:
                break
        return _fit(np.array(amounts, dtype=float), np.array(seconds))

    def _seconds(self, work: Callable[[], object]) -> float:
        started = time.perf_counter()
        work()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - started

    def _batch(self, rows: list[int]) -> Any:
        return self.objective.batch("train", rows)

    def _amount(self, rows: list[int]) -> float:
        return self.workload.amount("train", rows)

    def _forward_backward(self, batch: Any) -> None:
        measured = self.objective.measure(batch)
        (measured.loss / measured.weight.clamp(min=1)).backward()  # type: ignore[no-untyped-call]

    @torch.inference_mode()
    def _forward(self, batch: Any) -> None:
        self.objective.measure(batch).loss.item()

    def _evaluation(self, forward: Cost) -> float:
        """Return the seconds of measuring both splits."""
        batches = [(split, rows) for split in self.workload.rows for rows in self.workload.evaluation(split)]
        return forward(sum(self.workload.amount(*batch) for batch in batches), len(batches))


def _fit(amounts: NDArray[np.float64], seconds: NDArray[np.float64]) -> Cost:
    """Return the line through timed batches, through 0 where they do not tell its base."""
    if amounts.max() > 1.2 * amounts.min():
        unit, base = np.polyfit(amounts, seconds, 1)
        if unit > 0 and base > 0:
            return Cost(float(base), float(unit))
    return Cost(0.0, float(np.median(seconds / amounts)))
