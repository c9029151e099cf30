"""The figure of two judges who gave scores to the same responses."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from components.reporting.plots import BLUE, FONT, GREY, new_figure

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
    axes.plot([0, 100], [0, 100], color=GREY, linestyle=":", linewidth=1.2, label="the same score")
    most = max(int(counted["rows"].max()), 1) if len(counted) else 1
    area = (LARGEST * counted["rows"] / most).clip(lower=16) if most > 1 else 28
    axes.scatter(counted["first"], counted["second"], area, color=BLUE, alpha=0.45, linewidths=0)
    axes.set(xlim=(-4, 104), ylim=(-4, 104), aspect="equal")
    axes.set_xlabel(f"score by {names[0]}", parse_math=False)
    axes.set_ylabel(f"score by {names[1]}", parse_math=False)
    axes.set_title(f"{len(scores):,} responses with a score of both", fontsize=FONT + 1)
    axes.grid(visible=True, color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=FONT - 1, loc="upper left")
    return figure
