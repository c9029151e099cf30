"""What happened in a training: every step, every evaluation, and sample responses."""

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas as pd

from components.core.records import Logger

STEPS, EVALUATIONS, SAMPLES = "steps.parquet", "history.parquet", "samples.parquet"


@dataclass(frozen=True)
class Step:
    """One optimiser step: mean cross entropy of its rows, the gradient's norm before clipping, and the rate taken."""

    step: int
    epoch: float
    examples_seen: int
    tokens_seen: int
    loss: float
    gradient_norm: float
    learning_rate: float


@dataclass(frozen=True)
class Evaluation:
    """Loss and accuracy on (a sample of) train and validation after some step.

    The accuracy is the share of rows whose class is right; of a language model, of tokens that are the likeliest.
    """

    step: int
    epoch: float
    examples_seen: int
    tokens_seen: int
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float


@dataclass(frozen=True)
class Sample:
    """What a language model answers to an entry of the validation split after some step."""

    step: int
    epoch: float
    row: int
    instruction: str
    input: str
    reference: str
    response: str


@dataclass
class History:
    """What happened: every step, every evaluation, and the evaluation with the lowest validation loss."""

    steps: list[Step] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    best: Evaluation | None = None
    samples: list[Sample] = field(default_factory=list)


def log_step(logger: Logger, step: Step) -> None:
    """Log a step's numbers as `curve/...`."""
    values = {"batch_loss": step.loss, "gradient_norm": step.gradient_norm, "learning_rate": step.learning_rate}
    logger.metrics({f"curve/{name}": value for name, value in values.items()}, step.step)


def log_evaluation(logger: Logger, evaluation: Evaluation, perplexity: bool = False) -> None:
    """Log an evaluation's numbers as `curve/...`; of a language model the perplexities, exp(loss), as well."""
    values = asdict(evaluation)
    step = values.pop("step")
    if perplexity:
        values |= {f"{split}_perplexity": math.exp(values[f"{split}_loss"]) for split in ("train", "validation")}
    logger.metrics({f"curve/{name}": value for name, value in values.items()}, step)


def write_history(history: History, out: Path) -> None:
    """Write `steps.parquet`, `history.parquet` and, if there are any, `samples.parquet`."""
    pd.DataFrame([asdict(step) for step in history.steps]).to_parquet(out / STEPS, index=False)
    pd.DataFrame([asdict(row) for row in history.evaluations]).to_parquet(out / EVALUATIONS, index=False)
    if history.samples:
        pd.DataFrame([asdict(sample) for sample in history.samples]).to_parquet(out / SAMPLES, index=False)


def read_history(folder: Path) -> History:
    """Return what `write_history` wrote."""
    steps = [Step(*row) for row in pd.read_parquet(folder / STEPS).itertuples(index=False)]
    evaluations = [Evaluation(*row) for row in pd.read_parquet(folder / EVALUATIONS).itertuples(index=False)]
    there = (folder / SAMPLES).exists()
    samples = [Sample(*row) for row in pd.read_parquet(folder / SAMPLES).itertuples(index=False)] if there else []
    best = min(evaluations, key=lambda evaluation: evaluation.validation_loss, default=None)
    return History(steps, evaluations, best, samples)
