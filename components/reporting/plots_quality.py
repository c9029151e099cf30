"""Figures of how good a classifier is: over all thresholds, of its probabilities, and what the cut at a length costs.

Drawn as in `components.reporting.plots`; the model is blue and solid, the baselines are dashed and dotted.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from components.reporting.evidence import BASELINES
from components.reporting.plots import BLUE, FONT, VERMILION

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

GREEN, GREY = "#009E73", "#777777"
PALETTE = (BLUE, VERMILION, GREEN, "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8B6F00")
"""Okabe and Ito's colours, the yellow darkened; as many classes are drawn at most."""
STYLES = {
    "model": (BLUE, "-", "o", "model"),
    "svm": (VERMILION, "--", "s", BASELINES["svm"]),
    "tfidf": (GREEN, "-.", "^", BASELINES["tfidf"]),
}
SPLIT_STYLES = {"train": (BLUE, "-"), "validation": (VERMILION, "--"), "test": (GREEN, "-.")}
LENGTH_BINS = 40


def thresholds_figure(curves: "pd.DataFrame", shares: Mapping[str, float], title: str) -> "Figure":
    """Return the ROC and the precision-recall curves of the model and of the baselines, side by side.

    Args:
        curves: `classifier`, `label`, `curve`, `area`, `x`, `y`, as the step `evaluate` writes them. With several
            labels each is told from the rest, and the largest are drawn, the model's curves only.
        shares: what share of the rows (0 to 1) each label has; by chance, precision is that.
        title: the line above both panels.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.5, 5.4), layout="constrained")
    roc, precision = figure.subplots(1, 2)
    labels = sorted(set(curves["label"]), key=lambda label: -shares[label])[: len(PALETTE)]
    for axes, curve, area in ((roc, "roc", "AUC"), (precision, "precision_recall", "AP")):
        _draw_curves(axes, curves[curves["curve"] == curve], labels, area)
    roc.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1.2, label="chance")
    axes_names(roc, "false positive rate", "true positive rate (recall)")
    if len(labels) == 1:
        chance = shares[labels[0]]
        precision.axhline(chance, color=GREY, linestyle=":", linewidth=1.2, label=f"chance ({chance:.3f})")
    axes_names(precision, "recall", "precision")
    for axes in (roc, precision):
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        # Below: a curve may pass through any corner.
        below = axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2, frameon=False, fontsize=FONT - 1)
        plain(below)
    title_line(figure, title)
    return figure


def _draw_curves(axes: "Axes", curves: "pd.DataFrame", labels: Sequence[str], area: str) -> None:
    steps = "default" if area == "AUC" else "steps-post"
    for place, label in enumerate(labels):
        for name, (colour, dash, _, words) in STYLES.items():
            points = curves[(curves["label"] == label) & (curves["classifier"] == name)]
            several = len(labels) > 1
            if points.empty or (several and name != "model"):
                continue
            axes.plot(
                points["x"],
                points["y"],
                color=PALETTE[place] if several else colour,
                linestyle=dash,
                drawstyle=steps,
                linewidth=1.8,
                label=f"{label if several else words} ({area} {points['area'].iloc[0]:.3f})",
            )


def calibration_figure(bins: "pd.DataFrame", errors: Mapping[str, float], classes: int, title: str) -> "Figure":
    """Return how often a prediction is right by how probable it was said to be, above how many there are.

    Args:
        bins: of one split: `classifier`, `low`, `high`, `rows`, `confidence`, `accuracy`, all bins of one width.
        errors: the expected calibration error of each classifier.
        classes: number of classes; no predicted label has a probability below one in so many.
        title: the line above.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.6, 6.2), layout="constrained")
    share, count = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    share.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1.2, label="as probable as said")
    for place, (name, (colour, dash, marker, words)) in enumerate(STYLES.items()):
        points = bins[bins["classifier"] == name]
        share.plot(
            points["confidence"],
            points["accuracy"],
            color=colour,
            linestyle=dash,
            marker=marker,
            linewidth=1.6,
            markersize=5.5,
            label=f"{words} (calibration error {errors[name]:.3f})",
        )
        share.vlines(points["confidence"], *_wilson(points), color=colour, linewidth=1.2, alpha=0.55)
        width = points["high"] - points["low"]
        left = points["low"] + (0.04 + 0.31 * place) * width
        count.bar(left, points["rows"], 0.29 * width, align="edge", color=colour)
    lowest = max(0.0, 1 / classes - 0.02)
    share.set_xlim(lowest, 1.01)
    share.set_ylim(min(lowest, float(bins["accuracy"].min())) - 0.03, 1.03)
    count.set_yscale("log")
    count.set_ylim(bottom=0.7)
    axes_names(share, "", "share right, with 95 % intervals")
    axes_names(count, "probability of the predicted label", "rows")
    plain(figure.legend(loc="outside lower center", frameon=False, fontsize=FONT - 1))
    title_line(figure, title)
    return figure


def _wilson(points: "pd.DataFrame") -> tuple[list[float], list[float]]:
    """Return the 95 % intervals of the bins' shares as lower and upper ends."""
    from scipy.stats import binomtest

    tests = [
        binomtest(round(rows * accuracy), rows).proportion_ci(0.95, "wilson")
        for rows, accuracy in zip(points["rows"].tolist(), points["accuracy"].tolist(), strict=True)
    ]
    return [each.low for each in tests], [each.high for each in tests]


def lengths_figure(lengths: "pd.DataFrame", limit: int, title: str) -> "Figure":
    """Return how long the texts of each split are, in tokens before they are cut, and where they are cut.

    Args:
        lengths: `split`, `tokens`, `rows`: how many texts of a split have that many tokens.
        limit: tokens that a text is cut to.
        title: the line above.
    """
    import numpy as np
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    figure = Figure(figsize=(11.5, 4.4), layout="constrained")
    axes = figure.subplots()
    longest = int(lengths["tokens"].max())
    width = max(1, -(-(longest + 1) // LENGTH_BINS))
    edges = np.arange(0, longest + width + 1, width)
    for split, (colour, dash) in SPLIT_STYLES.items():
        part = lengths[lengths["split"] == split]
        rows = int(part["rows"].sum())
        if rows == 0:
            continue
        shares, _ = np.histogram(part["tokens"], edges, weights=part["rows"] / rows)
        cut = float(part.loc[part["tokens"] > limit, "rows"].sum() / rows)
        words = f"{split}: {rows:,} texts, {100 * cut:.1f} % cut"
        axes.stairs(shares, edges, color=colour, linestyle=dash, linewidth=1.8, label=words)
    if limit <= 1.5 * longest:
        axes.axvline(limit, color="black", linewidth=1.2, label=f"cut at {limit:,} tokens")
    else:
        axes.plot([], [], " ", label=f"cut at {limit:,} tokens, far to the right")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _position: f"{100 * value:g} %"))
    axes_names(axes, f"tokens, in bins of {width}" if width > 1 else "tokens", "share of the split's texts")
    plain(figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=FONT - 1))
    title_line(figure, title)
    return figure


def axes_names(axes: "Axes", x: str, y: str) -> None:
    """Name the axes, draw a grid behind what is drawn, and leave the upper and right edge open."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(visible=True, color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def plain(legend: "Legend") -> None:
    """Take the labels of a legend as they are: one is not a formula, even if it holds dollar signs."""
    for text in legend.get_texts():
        text.set_parse_math(False)


def title_line(figure: "Figure", title: str) -> None:
    """Put a line above the whole figure."""
    figure.suptitle(title, fontsize=FONT + 1, fontweight="bold", parse_math=False)
