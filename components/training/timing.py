"""How long a recipe will take, from a few of its own steps on a network that is thrown away.

Shapes: B batch, T tokens.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from components.model.classifier import Classifier
from components.model.devices import autocast
from components.training.batching import Batch, Examples, in_batches, pad, shuffled
from components.training.config import TrainConfig, rows_per_step
from components.training.estimate import Plan

BUDGET = 3.0
"""Seconds after which no further batch is timed."""
LONGEST_TURN = 5.0
"""A batch that would take longer is timed with fewer rows."""
TIMED = 8
"""Most batches that are timed."""
LOOKED_AT = 200
"""Steps whose batches are looked at to know how long batches are on average."""
WRITTEN = 1e9
"""Bytes of trained weights that are written in a second, at every evaluation that is the best so far."""


@dataclass(frozen=True)
class Timing:
    """Seconds: of one optimiser step and one evaluation, of all of them, of the test at the end, and together."""

    step: float
    evaluation: float
    training: float
    evaluating: float
    testing: float
    total: float


@dataclass(frozen=True)
class Cost:
    """Seconds of a batch: the same for all, and more for each padded token."""

    base: float
    token: float

    def __call__(self, tokens: float, batches: float = 1) -> float:
        """Return the seconds of `batches` with `tokens` altogether."""
        return batches * self.base + tokens * self.token


@dataclass
class Stopwatch:
    """A network and its recipe, to be timed. The network's weights are spoilt."""

    network: Classifier
    train: Examples
    config: TrainConfig
    length: int | None
    pad_id: int
    device: torch.device
    precision: str

    def __post_init__(self) -> None:
        self.network.to(self.device)
        trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        self.trained_bytes = sum(parameter.nbytes for parameter in trained)
        self.optimiser = torch.optim.AdamW(trained, lr=1e-8, fused=self.device.type != "mps")

    def time(self, plan: Plan, splits: dict[str, NDArray[np.int64]]) -> Timing:
        """Time some steps; return what `plan` makes of them. `splits` are the lengths of all rows of all splits."""
        with torch.random.fork_rng():
            cost, update = self._learning()
            forward = self._line([self._padded(rows) for rows in self._timed_rows()], self._forward)
        batches = [rows for step in self._steps() for rows in in_batches(step, self.config.batch_size)]
        mean = float(np.mean([self._tokens(self.train.lengths[rows]) for rows in batches]))
        step = self.config.accumulate * cost(mean) + update
        evaluation = sum(self._evaluation(forward, splits[name]) for name in ("train", "validation"))
        testing = sum(forward(float(self._padded_total(lengths)), len(lengths) / 32) for lengths in splits.values())
        training = plan.steps * step
        evaluating = plan.evaluations * (evaluation + self.trained_bytes / WRITTEN)
        return Timing(step, evaluation, training, evaluating, testing, training + evaluating + testing)

    def _learning(self) -> tuple[Cost, float]:
        """Return the cost of forward and backward pass, and the seconds of the optimiser."""
        self.network.train()
        batches = [self._padded(rows) for rows in self._timed_rows()]
        cost = self._line(batches, self._forward_backward)
        self._seconds(self.optimiser.step)  # makes its moments
        return cost, self._seconds(self.optimiser.step)

    def _timed_rows(self) -> list[list[int]]:
        """Return the rows of the batches to time, none taking too long: the longest, then as they come."""
        longest = np.argsort(-self.train.lengths, kind="stable")[: self.config.batch_size].tolist()
        one = self._padded(longest[:1])
        self._forward_backward(one)
        seconds = self._seconds(lambda: self._forward_backward(one))
        rows = max(1, min(self.config.batch_size, int(LONGEST_TURN / max(seconds, 1e-9))))
        return [longest[:rows], *(step[:rows] for step in islice(self._steps(), TIMED - 1))]

    def _steps(self) -> Iterator[list[int]]:
        """Yield the rows of the run's first steps."""
        order = torch.Generator().manual_seed(self.config.seed)
        return islice(shuffled(len(self.train), rows_per_step(self.config), order), LOOKED_AT)

    def _line(self, batches: list[Batch], work: Callable[[Batch], None]) -> Cost:
        """Time `work` on batches, the first once more to warm up, and put a line through tokens and seconds."""
        work(batches[0])
        started, tokens, seconds = time.monotonic(), [], []
        for batch in batches:
            tokens.append(batch.tokens.numel())
            seconds.append(self._seconds(lambda batch=batch: work(batch)))  # type: ignore[misc]
            if time.monotonic() - started > BUDGET:
                break
        return _fit(np.array(tokens, dtype=float), np.array(seconds))

    def _seconds(self, work: Callable[[], object]) -> float:
        started = time.perf_counter()
        work()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - started

    def _forward_backward(self, batch: Batch) -> None:
        self._loss(batch).backward()  # type: ignore[no-untyped-call]

    @torch.inference_mode()
    def _forward(self, batch: Batch) -> None:
        self._loss(batch).item()

    def _loss(self, batch: Batch) -> torch.Tensor:
        with autocast(self.device, self.precision):
            logits = self.network(batch.tokens, batch.lengths)
        return F.cross_entropy(logits.float(), batch.labels)

    def _padded(self, rows: list[int]) -> Batch:
        return pad(self.train, rows, self.pad_id, self.length).to(self.device)

    def _tokens(self, lengths: NDArray[np.int64]) -> int:
        return len(lengths) * int(self.length or lengths.max())

    def _padded_total(self, lengths: NDArray[np.int64]) -> int:
        """Return the tokens of a split where rows of like length go together."""
        return len(lengths) * self.length if self.length else int(lengths.sum())

    def _evaluation(self, forward: Cost, lengths: NDArray[np.int64]) -> float:
        """Return the seconds of evaluating on one split."""
        size, most = self.config.batch_size, self.config.eval_batches
        parts = [lengths[start : start + size] for start in range(0, len(lengths), size)][:most]
        return forward(float(sum(map(self._tokens, parts))), len(parts))


def _fit(tokens: NDArray[np.float64], seconds: NDArray[np.float64]) -> Cost:
    """Return the line through timed batches, through 0 where they do not tell its base."""
    if tokens.max() > 1.2 * tokens.min():
        token, base = np.polyfit(tokens, seconds, 1)
        if token > 0 and base > 0:
            return Cost(float(base), float(token))
    return Cost(0.0, float(np.median(seconds / tokens)))
