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
    draw_splits(axes, history, quantity, 100.0 if percent else 1.0)
    axes.set_xlabel("epochs")
    _room(axes, history, [f"train_{quantity}", f"validation_{quantity}"], percent)
    top_axis(axes, history["epoch"], history["examples_seen"], "examples seen")
    axes.grid(visible=True, color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=FONT - 1)
    axes.spines["right"].set_visible(False)


def draw_splits(axes: "Axes", history: "pd.DataFrame", quantity: str, scale: float = 1.0) -> None:
    """Draw `train_<quantity>` and `validation_<quantity>` of a history against `epoch`."""
    marks = len(history) <= FEW_POINTS
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


def top_axis(axes: "Axes", epochs: "pd.Series[float]", seen: "pd.Series[int]", name: str) -> None:
    """Put on top what a training has seen (examples, tokens) at the epochs below.

    Between evaluations it is taken to grow evenly, and beyond them as on the whole.
    """
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    to_seen, to_epochs = _mapping(epochs, seen)
    top = axes.secondary_xaxis("top", functions=(to_seen, to_epochs))
    top.set_xlabel(name)
    top.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    top.xaxis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:,.0f}"))


Mapped = Callable[["ArrayLike"], "ArrayLike"]


def _mapping(epochs: "pd.Series[float]", seen: "pd.Series[int]") -> tuple[Mapped, Mapped]:
    """Return functions from epochs to what was seen and back: straight between points, and beyond the outer ones."""
    import numpy as np

    x, y = np.asarray(epochs, dtype=float), np.asarray(seen, dtype=float)
    rate = y.max() / x.max() if x.max() > 0 else 1.0
    # Strictly rising, or there is no way back; and far enough for any axis.
    rising = np.concatenate([[True], (np.diff(x) > 0) & (np.diff(y) > 0)])
    x, y = x[rising], y[rising]
    far = 10 * max(float(x[-1]), 1.0)
    x = np.concatenate([[x[0] - far], x, [x[-1] + far]])
    y = np.concatenate([[y[0] - far * rate], y, [y[-1] + far * rate]])
    return lambda values: np.interp(values, x, y), lambda values: np.interp(values, y, x)


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
