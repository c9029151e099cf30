"""What all plots have in common, the learning curves, and how two judges agree.

Drawn with matplotlib's object interface, which shares no state between threads and needs no display. Colours are
those of Okabe and Ito (2008), told apart with any kind of colour vision; the splits differ in marker and dash as well.
"""

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend
    from numpy.typing import NDArray

BLUE, VERMILION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
PALETTE = (BLUE, VERMILION, GREEN, "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8B6F00")
"""Okabe and Ito's colours, the yellow darkened."""
WIDE_FONTS = (
    "Noto Sans CJK KR", "Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans KR", "NanumGothic", "NanumBarunGothic",
    "Malgun Gothic", "Apple SD Gothic Neo", "Source Han Sans KR", "WenQuanYi Zen Hei", "UnDotum", "Unifont",
)  # fmt: skip
"""Fonts with Hangul or Chinese and Japanese characters, which matplotlib's own lacks."""
FONT_ADVICE = "install one such as Noto Sans CJK (Debian: fonts-noto-cjk) and draw again"
FONT = 11
RESOLUTION = 120
"""Dots an inch of the figures."""
WIDTH = 11.5
"""Inches of a figure that takes the page's whole width."""
FEW_POINTS = 40
"""Up to so many points each gets a marker."""
BROAD, NARROW = 3.0, 1.5
"""Widths of lines of which one may lie on another: the first is the broadest, so that both are seen."""
LARGEST_DOT = 900.0
"""Area of the largest dot of `agreement_figure`, in square points."""
BINS = 40
"""Bars of a histogram at most."""
DOTTED: "dict[str, Any]" = {"color": GREY, "linestyle": ":", "linewidth": 1.2}
"""A line to measure others by: chance, or a step that was kept."""

log = logging.getLogger(__name__)


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure of this size in inches, whose texts may be in any script that a font is installed for."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams["font.family"] = _fonts()
    return Figure(figsize=(width, height), layout="constrained")


@cache
def _fonts() -> list[str]:
    """Return matplotlib's own font, and those installed that have what it lacks: a glyph is taken from the first."""
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in WIDE_FONTS if name in installed)]


def png(figure: "Figure") -> bytes:
    """Return a figure as a PNG file; of characters that no installed font has, which become boxes, a warning tells."""
    buffer = BytesIO()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        figure.savefig(buffer, format="png", dpi=RESOLUTION)
    lacking = [str(each.message) for each in caught if "missing from font" in str(each.message)]
    for each in caught:
        if str(each.message) not in lacking:
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
    if lacking:
        log.warning("a plot has %d characters that no font here has: %s", len(set(lacking)), FONT_ADVICE)
    return buffer.getvalue()


def learning_curves(
    history: "pd.DataFrame",
    panels: "Mapping[str, tuple[str, Callable[[Axes, NDArray[Any]], None]]]",
    seen: str,
    title: str = "",
    kept_step: int | None = None,
) -> "Figure":
    """Return curves of both splits against epochs, side by side, with what was seen on a second axis on top.

    Args:
        history: a row an evaluation: `step`, `epoch` (fractional), a column `<seen>_seen` (for example
            `tokens_seen`), and those that the panels name. Values may be missing.
        panels: by quantity, of which `train_<quantity>` and `validation_<quantity>` are drawn, the name of the axis,
            and what sets its limits by the finite values that are drawn on it.
        seen: what a training sees: examples or tokens.
        title: the line above all panels.
        kept_step: the step whose weights were kept; a line marks it.
    """
    import numpy as np

    figure = new_figure(WIDTH, 4.8)
    styles = {"train": (BLUE, "-", "o", BROAD), "validation": (VERMILION, "--", "s", NARROW)}
    for axes, (quantity, (name, limit)) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        for split, (colour, dash, marker, width) in styles.items():
            points = history[["epoch", f"{split}_{quantity}"]].dropna().to_numpy().T
            line = {"color": colour, "linestyle": dash, "marker": marker if len(history) <= FEW_POINTS else None}
            axes.plot(*points, label=split, markersize=4.5, linewidth=width, **line)
        kept = history.loc[history["step"] == kept_step, "epoch"]
        if len(kept):
            axes.axvline(float(kept.iloc[0]), label=f"kept: step {kept_step:,}", **DOTTED)
        values = history[[f"{split}_{quantity}" for split in styles]].to_numpy(dtype=float)
        limit(axes, values[np.isfinite(values)])
        if len(history) == 1:
            axes.set_xlim(-0.05, max(2 * float(history["epoch"].iloc[0]), 1.0))
        _top_axis(axes, history["epoch"], history[f"{seen}_seen"], f"{seen} seen")
        axes_names(axes, "epochs", name)
        axes.spines["top"].set_visible(True)
        plain(axes.legend(frameon=False, fontsize=FONT - 1))
    return finished(figure, title)


def from_zero(axes: "Axes", values: "NDArray[Any]") -> None:
    """Begin an axis at zero, so that a small gap looks small."""
    axes.set_ylim(0.0, 1.08 * float(values.max(initial=0.0)) or 1.0)


def _top_axis(axes: "Axes", epochs: "pd.Series[float]", seen: "pd.Series[int]", name: str) -> None:
    """Put on top what a training has seen (examples, tokens) at the epochs below.

    Between evaluations it is taken to grow evenly, and beyond them as on the whole.
    """
    import numpy as np
    from matplotlib.ticker import MaxNLocator

    x, y = np.asarray(epochs, dtype=float), np.asarray(seen, dtype=float)
    rate = y.max() / x.max() if x.max() > 0 else 1.0
    # Strictly rising, or there is no way back; and far enough for any axis.
    rising = np.concatenate([[True], (np.diff(x) > 0) & (np.diff(y) > 0)])
    x, y = x[rising], y[rising]
    far = 10 * max(float(x[-1]), 1.0)
    x = np.concatenate([[x[0] - far], x, [x[-1] + far]])
    y = np.concatenate([[y[0] - far * rate], y, [y[-1] + far * rate]])
    back_and_forth = (lambda values: np.interp(values, x, y), lambda values: np.interp(values, y, x))
    top = axes.secondary_xaxis("top", functions=back_and_forth)
    top.set_xlabel(name)
    top.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    top.xaxis.set_major_formatter(thousands())


def axes_names(axes: "Axes", x: str, y: str) -> None:
    """Name the axes, draw a grid behind what is drawn, and leave the upper and right edge open."""
    axes.set_xlabel(x, parse_math=False)
    axes.set_ylabel(y, parse_math=False)
    axes.grid(visible=True, color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def plain(legend: "Legend") -> None:
    """Take the labels of a legend as they are: one is not a formula, even if it holds dollar signs."""
    for text in legend.get_texts():
        text.set_parse_math(False)


def finished(figure: "Figure", title: str, columns: int = 0) -> "Figure":
    """Put a line above a whole figure and, of so many columns, a legend below it; return the figure."""
    if columns:
        plain(figure.legend(loc="outside lower center", ncols=columns, frameon=False, fontsize=FONT - 1))
    if title:
        figure.suptitle(title, fontsize=FONT + 1, fontweight="bold", parse_math=False)
    return figure


def thousands() -> Any:
    """Return what writes the numbers of an axis whole, with commas."""
    from matplotlib.ticker import FuncFormatter

    return FuncFormatter(lambda value, _position: f"{value:,.0f}")


def bins(longest: int, what: str) -> "tuple[int, NDArray[Any], str]":
    """Return a histogram's bins of whole numbers from zero to `longest`: width, edges, and the name of the axis.

    A bin of one number has that number in its middle.
    """
    import numpy as np

    width = max(1, -(-(longest + 1) // BINS))
    edges = np.arange(0, longest + width + 1, width) - (0.5 if width == 1 else 0.0)
    return width, edges, f"{what}, in bins of {width}" if width > 1 else what


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
    area = (LARGEST_DOT * counted["rows"] / most).clip(lower=16) if most > 1 else 28
    axes.scatter(counted["first"], counted["second"], area, color=BLUE, alpha=0.45, linewidths=0)
    axes.set(xlim=(-4, 104), ylim=(-4, 104), aspect="equal")
    axes_names(axes, *(f"score by {name}" for name in names))
    axes.set_title(f"{len(scores):,} responses with a score of both", fontsize=FONT + 1)
    axes.legend(frameon=False, fontsize=FONT - 1, loc="upper left")
    return figure
