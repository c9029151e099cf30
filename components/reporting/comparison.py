"""Several runs on one page, and their curves in one plot."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.evaluation.metrics import METRICS
from components.reporting.pages import render
from components.reporting.plots import PALETTE, WIDTH, axes_names, finished, new_figure, png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curves = Mapping[str, Mapping[str, Sequence[tuple[int, float]]]]
"""Of each run, by its name, steps and values by the name of the curve."""
QUANTITIES = ("loss", "accuracy")
"""Of which a run may have curves: of each on train and on validation."""
MARKERS = ("", "s", "^", "D")
"""What tells those runs apart that have one colour."""
DASHES = {"train": ":", "validation": "-"}
CURVES = tuple(f"curve/{split}_{quantity}" for quantity in QUANTITIES for split in DASHES)
"""The names of those curves among a run's metrics."""


def comparison_page(found: Any, curves: Curves) -> str:
    """Return a comparison as one HTML page that stands by itself.

    Args:
        found: what was found out: a `pipelines.compared.Comparisons`.
        curves: those of `CURVES` that each run has.
    """
    figures = {"curves": png(curves_figure(curves))} if any(curves.values()) else {}
    digits = {name: metric.digits for name, metric in METRICS.items()}
    return render("comparison.html", {}, found=found, figures=figures, digits=digits, kappa=shown_kappa)


def shown_kappa(found: Any) -> str:
    """Return a kappa with its interval, in words where there is none."""
    if found.kappa is None:
        return "undefined: all are of one class"
    interval = f", 95 % {found.interval[0]:.2f} to {found.interval[1]:.2f}" if found.interval else ""
    return f"{found.kappa:.2f}{interval}"


def curves_figure(curves: Curves) -> "Figure":
    """Return the curves of all runs in one figure, a panel a quantity, a colour a run, train dotted."""
    there = [each for each in QUANTITIES if any(f"curve/validation_{each}" in run for run in curves.values())]
    figure = new_figure(WIDTH, 4.8)
    for axes, quantity in zip(figure.subplots(1, len(there) or 1, squeeze=False)[0], there, strict=False):
        for place, (name, run) in enumerate(curves.items()):
            style = {"color": PALETTE[place % len(PALETTE)], "marker": MARKERS[place // len(PALETTE) % len(MARKERS)]}
            for split, dash in DASHES.items():
                if points := run.get(f"curve/{split}_{quantity}"):
                    dot = {"marker": "o"} if len(points) == 1 else {}
                    axes.plot(*zip(*points, strict=True), linestyle=dash, linewidth=1.8, **style | dot)
            axes.plot([], [], label=name if quantity == there[0] else None, **style)
        axes_names(axes, "steps", f"{quantity} (dotted: train)")
    return finished(figure, "", columns=min(len(curves), 6))
