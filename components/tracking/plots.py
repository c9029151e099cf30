"""Figures for a run's page: learning curves and confusion matrices.

Drawn with matplotlib's object interface, which shares no state between threads and needs no display. Colours are
those of Okabe and Ito (2008), told apart with any kind of colour vision; the splits differ in marker and dash as well.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

BLUE, VERMILION = "#0072B2", "#D55E00"
FONT = 11
FEW_POINTS = 40
"""Up to so many points each gets a marker."""
DARK_CELL = 0.55
"""Share of a row above which a cell is dark enough for white text."""
MOST_NUMBERED = 20
"""Labels up to which a confusion matrix has its numbers written in; with more the colours must do."""
WIDEST = 12.0
"""Inches that the cells of a confusion matrix take at most."""


def curves_figure(history: "pd.DataFrame", title: str = "") -> "Figure":
    """Return loss and accuracy against epochs, side by side, with examples seen on a second axis on top.

    Args:
        history: a row an evaluation: `step`, `epoch` (fractional), `examples_seen`, `train_loss`, `validation_loss`,
            `train_accuracy`, `validation_accuracy` (0 to 1). Values may be missing.
        title: the line above both panels.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.5, 4.6), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    _panel(loss, history, "loss")
    loss.set_ylabel("cross-entropy loss (nats)")
    _panel(accuracy, history, "accuracy", percent=True)
    accuracy.set_ylabel("accuracy (%)")
    if title:
        figure.suptitle(title, fontsize=FONT + 2, fontweight="bold")
    return figure


def _panel(axes: "Axes", history: "pd.DataFrame", quantity: Literal["loss", "accuracy"], percent: bool = False) -> None:
    marks = len(history) <= FEW_POINTS
    scale = 100.0 if percent else 1.0
    for split, colour, dash, marker in (("train", BLUE, "-", "o"), ("validation", VERMILION, "--", "s")):
        points = history[["epoch", f"{split}_{quantity}"]].dropna()
        axes.plot(
            points["epoch"],
            points[f"{split}_{quantity}"] * scale,
            color=colour,
            linestyle=dash,
            marker=marker if marks else None,
            markersize=4.5,
            linewidth=1.8,
            label=split,
        )
    axes.set_xlabel("epochs")
    _room(axes, history, [f"train_{quantity}", f"validation_{quantity}"], percent)
    _examples_axis(axes, history)
    axes.grid(visible=True, color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=FONT - 1)
    axes.spines["right"].set_visible(False)


def _room(axes: "Axes", history: "pd.DataFrame", columns: list[str], percent: bool) -> None:
    """Set the limits: a loss from zero, so that a small gap looks small; an accuracy on 10 points at least."""
    import numpy as np

    values = history[columns].to_numpy(dtype=float)
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if percent:
        axes.set_ylim(max(min(100 * low, 92.0) - 2, -2.0), min(max(100 * high, 100 * low + 8) + 2, 102.0))
    else:
        axes.set_ylim(0.0, 1.08 * high or 1.0)
    if len(history) == 1:
        epoch = float(history["epoch"].iloc[0])
        axes.set_xlim(-0.05, max(2 * epoch, 1.0))


def _examples_axis(axes: "Axes", history: "pd.DataFrame") -> None:
    """Put examples seen on top: they are proportional to epochs, so one factor serves."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    epochs, examples = float(history["epoch"].max()), float(history["examples_seen"].max())
    rate = examples / epochs if epochs > 0 else 1.0
    top = axes.secondary_xaxis("top", functions=(_times(rate), _times(1 / rate)))
    top.set_xlabel("examples seen")
    top.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    top.xaxis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:,.0f}"))


def _times(factor: float) -> "Callable[[ArrayLike], ArrayLike]":
    import numpy as np

    return lambda values: np.multiply(values, factor)


def confusion_figure(matrix: "Sequence[Sequence[int]]", labels: Sequence[str], title: str) -> "Figure":
    """Return a confusion matrix: counts, and what share of the true label's rows each is.

    Args:
        matrix: C x C counts, a row a true label, a column a predicted one.
        labels: the C labels in the order of the rows and columns.
        title: the line above.
    """
    import numpy as np
    from matplotlib.figure import Figure

    counts = np.asarray(matrix)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.6 + min(1.0 * len(labels), WIDEST)
    figure = Figure(figsize=(side + 0.9, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    size = min(FONT + 1, 130 / len(labels))
    for row, column in np.ndindex(counts.shape) if len(labels) <= MOST_NUMBERED else ():
        share = float(shares[row, column])
        text = f"{int(counts[row, column]):,}\n{100 * share:.1f} %"
        colour = "white" if share > DARK_CELL else "black"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=size)
    _name_the_labels(axes, labels)
    axes.set_title(title, fontsize=FONT + 1, fontweight="bold")
    bar = figure.colorbar(image, ax=axes, shrink=0.8, format=lambda value, _position: f"{100 * value:.0f} %")
    bar.set_label("share of the true label")
    bar.outline.set_visible(False)
    return figure


def _name_the_labels(axes: "Axes", labels: Sequence[str]) -> None:
    # A label is not a formula, even if it holds dollar signs.
    # Many or long ones would run into each other.
    crowded = len(labels) * max(map(len, labels)) > 10 * min(len(labels), WIDEST)
    upright: dict[str, Any] = {"rotation": 60, "ha": "right", "rotation_mode": "anchor"} if crowded else {}
    axes.set_xticks(range(len(labels)), labels, parse_math=False, **upright)
    axes.set_yticks(range(len(labels)), labels, parse_math=False)
    axes.set_xlabel("predicted label")
    axes.set_ylabel("true label")
    axes.tick_params(length=0, labelsize=min(FONT, 400 / len(labels)))
    axes.spines[:].set_visible(False)
    axes.set_xticks([edge - 0.5 for edge in range(1, len(labels))], minor=True)
    axes.set_yticks([edge - 0.5 for edge in range(1, len(labels))], minor=True)
    axes.grid(visible=True, which="minor", color="white", linewidth=2)
    axes.tick_params(which="minor", length=0)
