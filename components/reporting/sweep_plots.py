"""Plots of a sweep: score against time, and against each key that was varied."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.reporting.plots import BLUE, FONT, GREY, VERMILION, WIDTH, axes_names, finished, new_figure, plain, png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DECADES = 20.0
"""How many times the least value the greatest must be for an axis of factors."""
LONGEST_NAME = 40


@dataclass(frozen=True)
class Point:
    """A row of a sweep, as it is drawn."""

    rank: int
    """1 is the best."""
    name: str
    values: dict[str, Any]
    """The keys that were varied."""
    score: float
    """Mean over seeds, on validation."""
    low: float | None
    """Where its 95 % interval begins; None of one seed."""
    high: float | None
    minutes: float | None
    """Of training."""


def sweep_figures(points: Sequence[Point], score: str) -> dict[str, bytes]:
    """Return PNG files: `score_by_time` where times are known, and `score_by_<key>` of each key that was varied.

    Args:
        points: rows that have a score, the best first.
        score: what the axis of scores is called.
    """
    figures = {}
    timed = [point for point in points if point.minutes is not None]
    if timed:
        figures["score_by_time"] = png(_by_time(timed, score))
    keys = dict.fromkeys(key for point in points for key in point.values)
    for key in keys:
        having = [point for point in points if key in point.values]
        if len({str(point.values[key]) for point in having}) > 1:
            figures[f"score_by_{key}"] = png(_by_key(having, key, score))
    return figures


def _by_time(points: Sequence[Point], score: str) -> "Figure":
    """Draw rows by their ranks, whose names stand beside the plot: names at the dots would cover each other."""
    figure = new_figure(WIDTH, max(5.4, 0.22 * len(points)))
    axes = figure.subplots()
    for point in points:
        x = point.minutes or 0.0
        _draw(axes, x, point, VERMILION if point is points[0] else BLUE, f"{point.rank}  {_short(point.name)}")
        axes.annotate(str(point.rank), (x, point.score), xytext=(5, 5), textcoords="offset points", fontsize=FONT - 3)
    names = figure.legend(
        loc="outside right upper", frameon=False, fontsize=FONT - 2, handlelength=0, handletextpad=0, markerscale=0
    )
    plain(names)
    _factors_if_wide(axes, [point.minutes or 0.0 for point in points])
    axes_names(axes, "minutes of training, mean over seeds", f"{score}, validation")
    return finished(figure, "Score against time")


def _by_key(points: Sequence[Point], key: str, score: str) -> "Figure":
    figure = new_figure(9.0, 4.8)
    axes = figure.subplots()
    if all(_is_number(point.values[key]) for point in points):
        for point in points:
            _draw(axes, float(point.values[key]), point, BLUE)
        _factors_if_wide(axes, [float(point.values[key]) for point in points])
    else:
        names = list(dict.fromkeys(_short(str(point.values[key])) for point in points))
        for point in points:
            _draw(axes, names.index(_short(str(point.values[key]))), point, BLUE)
        axes.set_xticks(range(len(names)), names, rotation=20 if len(names) > 4 else 0, parse_math=False)
        axes.margins(x=0.15)
    axes_names(axes, key, f"{score}, validation")
    return finished(figure, f"Score against {key}")


def _draw(axes: "Axes", x: float, point: Point, colour: str, name: str | None = None) -> None:
    """Draw a mean, with its interval where there is one."""
    if point.low is not None and point.high is not None:
        axes.vlines(x, point.low, point.high, color=GREY, linewidth=1.4, alpha=0.8)
    axes.plot(x, point.score, marker="o", markersize=7, color=colour, label=name, linestyle="none")


def _factors_if_wide(axes: "Axes", values: Sequence[float]) -> None:
    if min(values) > 0 and max(values) / min(values) >= DECADES:
        axes.set_xscale("log")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
