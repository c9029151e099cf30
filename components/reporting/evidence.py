"""What the steps of a run counted, and what its figures say: those to read first, and what they must beat."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.core.records import Manifest
from components.evaluation.metrics import HUNDRED, METRICS

SPLITS = ("train", "validation", "test")
NONE = "–"
"""Stands where there is no value."""
ROUNDED = 1 + 1e-9
"""How far a value may be above the end of its scale for being rounded."""


DECIMAL, POINTS, PERCENT = ".4f", ".1f", ".1%"
"""How the values of a metric are written."""


def written(value: float | None, unit: str) -> str:
    """Return a value as text."""
    return NONE if value is None else f"{value:{unit}}".replace("%", " %")


@dataclass(frozen=True)
class KeyFigure:
    """A metric of the model with its 95 % interval, if it has one, beside what it is measured against."""

    name: str
    title: str
    unit: str
    model: float
    low: float | None
    high: float | None
    beside: Mapping[str, float | None]
    """The same metric of baselines and other models, by their names."""

    @property
    def interval(self) -> str:
        """The interval in words, or nothing."""
        return "" if self.low is None or self.high is None else f"{self.shown(self.low)} to {self.shown(self.high)}"

    @property
    def highest(self) -> float | None:
        """The end of the scale from zero that the metric is drawn on; None if it is not: not if a value is outside."""
        metric = METRICS[self.name]
        if metric.better is None or math.isinf(metric.high):
            return None
        end = HUNDRED if metric.high == HUNDRED else 1.0  # Brier's may be 2, but hardly ever is above 1
        values = [value for value in (self.model, *self.beside.values()) if value is not None]
        return end if all(0 <= value <= end * ROUNDED for value in values) else None

    def shown(self, value: float | None) -> str:
        """Return a value of this metric as text."""
        return written(value, self.unit)


@dataclass(frozen=True)
class Evidence:
    """What the figures of a run say."""

    kind: str
    """Of which kind the run is: `<kind>.html` is its report, and `<kind>.jinja` has its words."""
    figures: Sequence[KeyFigure]
    beside: Mapping[str, str]
    """What the figures are measured against, by name, and what that is called."""
    limits: Sequence[str]
    """What speaks against the model or its figures, one sentence each."""


def key_figures(
    metrics: Mapping[str, float], titles: Mapping[str, tuple[str, str]], beside: Iterable[str], split: str = "test"
) -> list[KeyFigure]:
    """Return the figures of a split that one looks for, in the order of `titles`; those that a run has.

    Args:
        metrics: flat: `<split>/<name>`, with `_low` and `_high` for the ends of intervals; those of another model or
            baseline begin with its name and a slash.
        titles: by the names of metrics, what they are called and how they are written.
        beside: names of what they are measured against.
        split: whose figures.
    """
    return [
        KeyFigure(
            name,
            title,
            unit,
            metrics[f"{split}/{name}"],
            metrics.get(f"{split}/{name}_low"),
            metrics.get(f"{split}/{name}_high"),
            {other: metrics.get(f"{other}/{split}/{name}") for other in beside},
        )
        for name, (title, unit) in titles.items()
        if f"{split}/{name}" in metrics
    ]


def figure_rows(
    figures: Iterable[KeyFigure], beside: Mapping[str, str], cell: Callable[[KeyFigure, float | None], Any]
) -> list[dict[str, Any]]:
    """Return figures as rows of a table, with the model beside what it is measured against; `cell` writes a value."""
    return [
        {
            "metric": figure.title,
            "model": cell(figure, figure.model),
            "95 % interval": figure.interval,
            **{title: cell(figure, figure.beside[name]) for name, title in beside.items()},
        }
        for figure in figures
    ]


def score_title(judge: Mapping[str, Any]) -> str:
    """Say what the scores are: a judge's, or a lexical measure, which no judge is."""
    return "score" if judge["is_language_model"] else "chrF"


def counted(manifests: Mapping[str, Manifest]) -> dict[str, float]:
    """Return what the steps of every pipeline counted, as metrics: rows, overlap, batches, parameters, seconds."""
    checked, splits, trained = (manifests[name].facts for name in ("validate", "split", "fine_tune"))
    values = {
        "data/rows_in": checked["rows_in"],
        "data/rows_out": checked["rows_out"],
        "data/longest_train_tokens": trained["longest_train_tokens"],
        "model/parameters": trained["parameters"],
        "model/trained_parameters": trained["trained_parameters"],
    }
    for split in SPLITS:
        rows, size = splits["rows"][split], trained["batch_size"]
        values[f"data/rows_{split}"] = rows
        # Training takes whole batches only, unless there is less than one.
        values[f"data/batches_{split}"] = max(rows // size, 1) if split == "train" else -(-rows // size)
    for split, counts in splits["overlap"].items():
        values |= {f"data/overlap_{split}_{kind}": count for kind, count in counts.items()}
    values |= {f"seconds/{name}": manifest.seconds for name, manifest in manifests.items() if not manifest.cached}
    return {name: float(value) for name, value in values.items()}


def counted_of_instructions(manifests: Mapping[str, Manifest]) -> dict[str, float]:
    """Return what the steps counted, as metrics: rows, tokens, perplexity, and how the responses ended."""
    checked, trained, responded = (manifests[name].facts for name in ("validate", "fine_tune", "respond"))
    values = {
        "data/rows_rejected": checked["rows_in"] - checked["rows_out"],
        "data/empty_inputs": checked["empty_inputs"],
        "data/tokens_longest": checked["tokens"]["longest"],
        "data/tokens_mean": checked["tokens"]["mean"],
        "data/tokens_seen": trained["tokens_seen"],
        "data/trained_token_share": trained["trained_token_share"],
        "validation/loss": trained["validation_loss"],
        "validation/perplexity": trained["validation_perplexity"],
        "responses/empty": responded["empty"],
        "responses/new_tokens": responded["new_tokens"],
    }
    if (before := trained.get("initial_validation_loss")) is not None:
        values |= {"start/validation/loss": before, "start/validation/perplexity": math.exp(before)}
    if answered := manifests.get("answer_validation"):
        values |= {f"validation/{name}": value for name, value in answered.facts.items()}
    values |= {f"data/truncated_{split}": count for split, count in trained["truncated_rows"].items()}
    if conversations := checked.get("conversations"):
        cut = {**trained["cut_conversations"], "test": responded["cut_conversations"]}
        values |= {f"data/cut_conversations_{split}": count for split, count in cut.items()}
        values |= {f"data/conversations_{name}": count for name, count in conversations.items()}
    values |= {f"responses/stopped_{why}": count for why, count in responded["stopped"].items()}
    return counted(manifests) | {name: float(value) for name, value in values.items() if value is not None}
