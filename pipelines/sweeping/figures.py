"""Figures over seeds, and how they are written: a metric's name is that of its MLflow figure, `validation/accuracy`."""

from collections.abc import Callable, Sequence
from math import inf
from statistics import mean
from typing import Self

from pydantic import BaseModel

from components.evaluation.metrics import METRICS, Metric
from components.evaluation.seeds import t_interval

NONE = "–"


class Figure(BaseModel):
    """A figure over seeds."""

    mean: float
    low: float | None = None
    """Where the 95 % interval of the mean begins (Student's t); None of one seed."""
    high: float | None = None
    values: list[float]
    """One a seed."""

    @classmethod
    def of(cls, values: Sequence[float], metric: str) -> Self | None:
        """Return the figure, its interval within what the metric can be; None if there are no values."""
        if not values:
            return None
        if len(values) == 1:
            return cls(mean=values[0], values=list(values))
        known = known_metric(metric)
        least, most = (known.low, known.high) if known else (-inf, inf)
        low, high = (min(max(end, least), most) for end in t_interval(values))
        return cls(mean=mean(values), low=low, high=high, values=list(values))


def known_metric(metric: str) -> Metric | None:
    """Return the row of the table of metrics that a figure is of; None if it is none of them."""
    return METRICS.get(metric.rpartition("/")[2])


def more_is_better(metric: str) -> bool:
    """Tell whether a higher figure is the better one."""
    found = known_metric(metric)
    return found is not None and found.better != "less"


def title_of(metric: str) -> str:
    """Return what a metric is called."""
    known = known_metric(metric)
    return known.title if known else metric.rpartition("/")[2].replace("_", " ")


def writer(metric: str) -> Callable[[float], str]:
    """Return what writes values of a metric: shares in per cent."""
    found = known_metric(metric)
    if found and found.interval == "wilson":
        return lambda value: f"{100 * value:.1f} %"
    digits = found.digits if found else 4
    return lambda value: f"{value:.{digits}f}"


def shown_figure(figure: Figure | None, write: Callable[[float], str], more: str = "") -> str:
    """Return a figure with its interval as text, and in the same brackets what `more` there is to say."""
    if figure is None:
        return NONE
    said = [more] if more else []
    if figure.low is not None and figure.high is not None:
        low, high = (write(end).removesuffix(" %") for end in (figure.low, figure.high))
        said.insert(0, f"{low} to {high}")
    return f"{write(figure.mean)} ({'; '.join(said)})" if said else write(figure.mean)


def difference_text(difference: float, metric: str) -> str:
    """Return a difference with its sign: of shares in points."""
    if writer(metric)(0.0).endswith("%"):
        return f"{100 * difference:+.1f} points"
    known = known_metric(metric)
    return f"{difference:+.{known.digits if known else 4}f}"


def minutes_text(minutes: float) -> str:
    """Return minutes as text: with more digits where there are few."""
    return f"{minutes:.1f}" if minutes >= 1 else f"{minutes:.2f}"
