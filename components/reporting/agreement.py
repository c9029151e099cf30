"""The figure of two judges who gave scores to the same responses."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from components.reporting.plots import BLUE, DOTTED, FONT, axes_names, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGEST = 900.0
"""Area of the largest dot, in square points."""


def agreement_figure(first: Sequence[float], second: Sequence[float], names: tuple[str, str]) -> "Figure":
    """Return two judges' scores of the same responses against each other, a dot a pair of scores.

    The area of a dot is the number of responses that have these two scores: whole numbers often coincide.

    Args:
        first: the scores (N) of one judge; nan for none, which is not drawn.
        second: those of the other.
        names: of the two judges.
    """
    import pandas as pd

    scores = pd.DataFrame({"first": first, "second": second}).dropna().round(1)
    counted = scores.value_counts().reset_index(name="rows")
    figure = new_figure(6.4, 6.2)
    axes = figure.subplots()
    axes.plot([0, 100], [0, 100], label="the same score", **DOTTED)
    most = max(int(counted["rows"].max()), 1) if len(counted) else 1
    area = (LARGEST * counted["rows"] / most).clip(lower=16) if most > 1 else 28
    axes.scatter(counted["first"], counted["second"], area, color=BLUE, alpha=0.45, linewidths=0)
    axes.set(xlim=(-4, 104), ylim=(-4, 104), aspect="equal")
    axes_names(axes, *(f"score by {name}" for name in names))
    axes.set_title(f"{len(scores):,} responses with a score of both", fontsize=FONT + 1)
    axes.legend(frameon=False, fontsize=FONT - 1, loc="upper left")
    return figure
