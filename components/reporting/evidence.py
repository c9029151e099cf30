"""What the figures of a run say, whatever its kind: those to read first, what they must beat, and their limits."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isinf
from typing import Any

from components.core.records import Facts
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
        if metric.better is None or isinf(metric.high):
            return None
        end = HUNDRED if metric.high == HUNDRED else 1.0  # Brier's may be 2, but hardly ever is above 1
        values = [value for value in (self.model, *self.beside.values()) if value is not None]
        return end if all(0 <= value <= end * ROUNDED for value in values) else None

    def shown(self, value: float | None) -> str:
        """Return a value of this metric as text."""
        return written(value, self.unit)


@dataclass(frozen=True)
class Evidence:
    """What a run of one kind shows, in the words of its report, its card and its description."""

    figures: Sequence[KeyFigure]
    beside: Mapping[str, str]
    """What the figures are measured against, by name, and what that is called."""
    limits: Sequence[str]
    """What speaks against the model or its figures, one sentence each."""
    first: Sequence[str]
    """The figures that one looks for first, in Markdown, a line each."""
    rows: str
    """What the rows of its data are called."""
    what: str
    """What the model is."""
    takes: str
    """A sentence on what it takes."""
    command: tuple[str, str]
    """The command that uses the model: what stands before the model's address, and after it."""
    frame: str
    """What `pandas.DataFrame` is given to use the model in Python."""
    recipe: Sequence[str]
    """Sections of the config that made the model or its figures."""
    reading: str = ""
    """How the figures are to be read."""
    judge: str = ""
    """Who gave the scores, if somebody did."""
    seen: str = ""
    """What it was trained on, if that can be told in a word."""
    more_figures: Sequence[tuple[str, ...]] = ()
    """Further rows of the table of figures."""
    groups: Sequence[tuple[str, ...]] = ()
    """A table of figures by label or by task, its header first."""

    def use(self, model_uri: str) -> str:
        """Return the command that uses the model at an address."""
        return f"gradus {self.command[0]} {model_uri} {self.command[1]}"


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


def limits(
    facts: Mapping[str, Facts],
    rows: str,
    small: tuple[str, float, float],
    groups: tuple[str, Iterable[tuple[str, int]], int],
    own: Iterable[str],
) -> Iterator[str]:
    """Yield what speaks against a model or its figures, one sentence each.

    Args:
        facts: of the steps.
        rows: what the rows of the data are called.
        small: the first figure, half its interval on the test set (in points), and above what that is wide.
        groups: what groups of test rows are called (`Labels`, `Tasks`), each one's name with its rows, and how few
            rows make its figures rough.
        own: further sentences of the kind.
    """
    splits, checked = facts["split"], facts["validate"]
    tested, overlap = splits["rows"]["test"], splits["overlap"]
    if folded := overlap["test"]["folded"]:
        of = f"{folded:,} of {tested:,}"
        yield f"{of} test {rows} also stand in train, but for case, digits or blanks: figures flatter."
    what, half, wide = small
    if half > wide:
        yield f"The test set is small: {tested:,} {rows} give the {what} to within {half:.1f} points (95 %)."
    called, counts, fewest = groups
    if few := [f"{name} ({count:,})" for name, count in counts if count < fewest]:
        yield f"{called} with fewer than {fewest} test {rows}, whose own figures are rough: {', '.join(few)}."
    yield from own
    if left_out := checked["rows_in"] - checked["rows_out"]:
        yield f"{left_out:,} of {checked['rows_in']:,} {rows} failed validation and were left out of all splits."
    if folded := overlap["validation"]["folded"]:
        yield f"{folded:,} validation {rows} also stand in train: the step that was kept may not be the best."


def score_title(judge: Mapping[str, Any]) -> str:
    """Say what the scores are: a judge's, or a lexical measure, which no judge is."""
    return "score" if judge["is_language_model"] else "chrF"
