"""A plot of what has arrived beside what a model was tested on."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from components.reporting.plots import (
    BINS,
    BLUE,
    BROAD,
    NARROW,
    VERMILION,
    WIDTH,
    axes_names,
    finished,
    new_figure,
    png,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

MOST_LABELS = 30
"""Labels of which bars are drawn: the most frequent ones."""


def drift_figure(
    tested: "pd.DataFrame", arrived: "pd.DataFrame", classes: list[str], axes: tuple[str, str], title: str
) -> bytes:
    """Return a PNG file: lengths of texts, and classes and values of what a model said of them.

    Args:
        tested: rows with `text`, `class` and `value`.
        arrived: the same of what has arrived.
        classes: in their order.
        axes: what class and value are.
        title: what was found.
    """
    figure = new_figure(WIDTH, 4.6)
    lengths, shares, values = figure.subplots(1, 3)
    both = (tested, arrived)
    _distributions(lengths, [rows["text"].str.len().to_numpy(np.float64) for rows in both], "characters of a text")
    _shares(shares, both, classes, axes[0])
    _distributions(values, [rows["value"].to_numpy(np.float64) for rows in both], axes[1])
    return png(finished(figure, title, columns=2))


def _distributions(axes: "Axes", samples: "Sequence[NDArray[Any]]", name: str) -> None:
    """Draw densities over the same bins."""
    edges = np.histogram_bin_edges(np.concatenate(samples), bins=BINS)
    for values, (_label, colour, width) in zip(samples, _styles(), strict=True):
        weights = np.full(len(values), 1 / len(values))
        axes.hist(values, edges.tolist(), weights=weights, histtype="step", color=colour, linewidth=width)
    axes_names(axes, name, "share of the texts")


def _shares(axes: "Axes", both: Sequence["pd.DataFrame"], classes: list[str], name: str) -> None:
    counts = [rows["class"].value_counts(normalize=True).reindex(classes, fill_value=0) for rows in both]
    shown = list((counts[0] + counts[1]).nlargest(MOST_LABELS).index)
    places = np.arange(len(shown))
    for count, side, (label, colour, _width) in zip(counts, (-0.2, 0.2), _styles(), strict=True):
        axes.bar(places + side, count[shown], 0.4, color=colour, label=label)
    axes.set_xticks(places, list(map(str, shown)), rotation=90 if len(shown) > 4 else 0, parse_math=False)
    axes_names(axes, name, "share of the texts")


def _styles() -> tuple[tuple[str, str, float], ...]:
    return ("tested on", BLUE, BROAD), ("arrived", VERMILION, NARROW)
