"""The figures of a classification run: learning curves, confusion, ROC, thresholds, calibration, and the cut.

The model is blue and solid, the baselines are dashed and dotted.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.records import Facts
from components.reporting import plots

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

BASELINES = {"svm": "n-grams + SVM", "tfidf": "TF-IDF + LR", "encoder": "frozen encoder + LR", "majority": "majority"}
"""The baselines and what their columns are called."""
STYLES = {
    "model": (plots.BLUE, "-", "o", "model"),
    "svm": (plots.VERMILION, "--", "s", BASELINES["svm"]),
    "tfidf": (plots.GREEN, "-.", "^", BASELINES["tfidf"]),
}
SPLIT_STYLES = {"train": (plots.BLUE, "-"), "validation": (plots.VERMILION, "--"), "test": (plots.GREEN, "-.")}
DARK_CELL = 0.55
"""Share of a row above which a cell is dark enough for white text."""
MOST_NUMBERED = 20
"""Labels up to which a confusion matrix has its numbers written in; with more the colours must do."""
WIDEST = 12.0
"""Inches that the cells of a confusion matrix take at most."""


def draw(history: Path, kept_step: int, scores: Facts, folder: Path) -> None:
    """Draw the figures of a classifier as `<name>.png` into `folder`.

    Args:
        history: the table that fine-tuning has written at its evaluations.
        kept_step: the training step whose weights were kept.
        scores: what the evaluation has found.
        folder: where it has put `curves.parquet`, `thresholds.parquet`, `calibration.parquet` and `lengths.parquet`.
    """
    import pandas as pd

    def save(name: str, figure: "Figure") -> None:  # one at a time, so that one is in memory
        (folder / f"{name}.png").write_bytes(plots.png(figure))

    save("curves", curves_figure(pd.read_parquet(history), kept_step))
    for split, matrix in scores["confusion"].items():
        save(f"confusion_{split}", confusion_figure(matrix, scores["labels"], f"{split} split"))
    rows = {each["label"]: each["rows"] for each in scores["per_class"]["test"]}
    shares = {label: count / sum(rows.values()) for label, count in rows.items()}
    curves = pd.read_parquet(folder / "curves.parquet")
    title = f"test split, {scores['labels'][1]!r} told from the rest" if len(rows) == 2 else "test split, each label"
    if len(curves):
        save("roc_precision_recall", roc_figure(curves, shares, title))
    if scores["threshold"]:
        thresholds = pd.read_parquet(folder / "thresholds.parquet")
        words = f"test split: {scores['labels'][1]!r} from which probability on?"
        save("thresholds", thresholds_figure(thresholds, scores["threshold"], scores["miss_cost"], words))
    bins = pd.read_parquet(folder / "calibration.parquet")
    metrics = scores["metrics"]
    errors = {each: metrics[f"{'' if each == 'model' else each + '/'}test/calibration_error"] for each in STYLES}
    test = bins[bins["split"] == "test"]
    save("calibration", calibration_figure(test, errors, len(rows), "calibration on the test split"))
    lengths = pd.read_parquet(folder / "lengths.parquet")
    save("lengths", lengths_figure(lengths, scores["max_length"], "lengths of the texts"))


def curves_figure(history: "pd.DataFrame", kept_step: int, title: str = "") -> "Figure":
    """Return loss and accuracy against epochs, with examples seen on a second axis on top.

    Args:
        history: as for `learning_curves`: `examples_seen`, `train_loss`, `validation_loss`, `train_accuracy`,
            `validation_accuracy` (0 to 1).
        kept_step: the step whose weights were kept; a line marks it.
        title: the line above both panels.
    """
    percent = {f"{split}_percent": 100 * history[f"{split}_accuracy"] for split in ("train", "validation")}
    panels = {
        "loss": ("cross-entropy loss (nats)", plots.from_zero),
        "percent": ("accuracy (%)", _ten_points),
    }
    return plots.learning_curves(history.assign(**percent), panels, "examples", title, kept_step)


def _ten_points(axes: "Axes", percent: "NDArray[Any]") -> None:
    """Show 10 points of accuracy at least."""
    low, high = (float(percent.min()), float(percent.max())) if percent.size else (0.0, 0.0)
    axes.set_ylim(max(min(low, 92.0) - 2, -2.0), min(max(high, low + 8) + 2, 102.0))


def confusion_figure(matrix: "Sequence[Sequence[int]]", labels: Sequence[str], title: str) -> "Figure":
    """Return a confusion matrix: counts, and what share of the true label's rows each is.

    Args:
        matrix: C x C counts, a row a true label, a column a predicted one.
        labels: the C labels in the order of the rows and columns.
        title: the line above.
    """
    import numpy as np

    counts = np.asarray(matrix)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.6 + min(1.0 * len(labels), WIDEST)
    figure = plots.new_figure(side + 0.9, side)
    axes = figure.subplots()
    cells = axes.pcolormesh(shares, cmap="Blues", vmin=0.0, vmax=1.0, edgecolors="white", linewidth=2)
    size = min(plots.FONT + 1, 130 / len(labels))
    for (row, column), share in np.ndenumerate(shares) if len(labels) <= MOST_NUMBERED else ():
        text = f"{int(counts[row, column]):,}\n{100 * share:.1f} %"
        colour = "white" if share > DARK_CELL else "black"
        axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", color=colour, fontsize=size)
    # A label is not a formula, even if it holds dollar signs. Many or long ones would run into each other.
    crowded = len(labels) * max(map(len, labels)) > 10 * min(len(labels), WIDEST)
    upright: dict[str, Any] = {"rotation": 60, "ha": "right", "rotation_mode": "anchor"} if crowded else {}
    axes.set_xticks(np.arange(len(labels)) + 0.5, labels, parse_math=False, **upright)
    axes.set_yticks(np.arange(len(labels)) + 0.5, labels, parse_math=False)
    axes.tick_params(length=0, labelsize=min(plots.FONT, 400 / len(labels)))
    axes.set(xlabel="predicted label", ylabel="true label", aspect="equal")
    axes.invert_yaxis()
    axes.spines[:].set_visible(False)
    axes.set_title(title, fontsize=plots.FONT + 1, fontweight="bold")
    bar = figure.colorbar(cells, ax=axes, shrink=0.8, format=lambda value, _position: f"{100 * value:.0f} %")
    bar.set_label("share of the true label")
    bar.outline.set_visible(False)
    return figure


def roc_figure(curves: "pd.DataFrame", shares: Mapping[str, float], title: str) -> "Figure":
    """Return the ROC and the precision-recall curves of the model and of the baselines, side by side.

    Args:
        curves: `classifier`, `label`, `curve`, `area`, `x`, `y`, as the step `evaluate` writes them. With several
            labels each is told from the rest, and the largest are drawn, the model's curves only.
        shares: what share of the rows (0 to 1) each label has; by chance, precision is that.
        title: the line above both panels.
    """
    figure = plots.new_figure(plots.WIDTH, 5.4)
    roc, precision = figure.subplots(1, 2)
    labels = sorted(set(curves["label"]), key=lambda label: -shares[label])[: len(plots.PALETTE)]
    several = len(labels) > 1
    panels = {"roc": (roc, "AUC", "default"), "precision_recall": (precision, "AP", "steps-post")}
    for (place, label), (name, (colour, dash, _, words)) in product(enumerate(labels), STYLES.items()):
        of = curves[(curves["label"] == label) & (curves["classifier"] == name)]
        for curve, (axes, area, steps) in panels.items():
            points = of[of["curve"] == curve]
            if points.empty or (several and name != "model"):
                continue
            called = f" {label}" if str(label).startswith("_") else label  # else it would not be in the legend
            who = f"{called if several else words} ({area} {points['area'].iloc[0]:.3f})"
            line: dict[str, Any] = {"linestyle": dash, "drawstyle": steps, "linewidth": 1.8, "label": who}
            axes.plot(points["x"], points["y"], color=plots.PALETTE[place] if several else colour, **line)
    roc.plot([0, 1], [0, 1], label="chance", **plots.DOTTED)
    plots.axes_names(roc, "false positive rate", "true positive rate (recall)")
    if len(labels) == 1:
        chance = shares[labels[0]]
        precision.axhline(chance, label=f"chance ({chance:.3f})", **plots.DOTTED)
    plots.axes_names(precision, "recall", "precision")
    for axes in (roc, precision):
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        # Below: a curve may pass through any corner.
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.13), "ncols": 2}
        plots.plain(axes.legend(**below, frameon=False, fontsize=plots.FONT - 1))
    return plots.finished(figure, title)


def thresholds_figure(table: "pd.DataFrame", chosen: Facts, miss_cost: float, title: str) -> "Figure":
    """Return precision and recall at every threshold, and what it costs, with the cheapest one marked.

    Args:
        table: `split`, `threshold`, `precision`, `recall`, `cost` (a row of the split's, in false alarms).
        chosen: the threshold that is cheapest on the validation split, and its figures on the test split.
        miss_cost: what a miss costs, a false alarm being 1.
        title: the line above both panels.
    """
    figure = plots.new_figure(plots.WIDTH, 4.8)
    found, cost = figure.subplots(1, 2)
    splits = {split: table[table["split"] == split] for split in ("validation", "test")}
    for name, (colour, dash, width) in {
        "precision": (plots.BLUE, "-", plots.BROAD),
        "recall": (plots.VERMILION, "--", plots.NARROW),
    }.items():
        line = {"color": colour, "linestyle": dash, "linewidth": width}
        found.plot(splits["test"]["threshold"], splits["test"][name], label=name, **line)
    for split, width in (("test", plots.BROAD), ("validation", plots.NARROW)):
        colour, dash = SPLIT_STYLES[split]
        line = {"color": colour, "linestyle": dash, "linewidth": width, "drawstyle": "steps-mid"}
        cost.plot(splits[split]["threshold"], splits[split]["cost"], label=split, **line)
    words = f"cheapest on validation: {chosen['threshold']:.3f}"
    for axes in (found, cost):
        axes.axvline(chosen["threshold"], label=words, **plots.DOTTED)
        axes.set(xlim=(-0.02, 1.02))
    found.set_ylim(-0.02, 1.02)
    cost.set_ylim(bottom=0)
    plots.axes_names(found, "threshold", "precision, recall")
    price = "a miss costs as much as a false alarm" if miss_cost == 1 else f"a miss costs {miss_cost:g} false alarms"
    plots.axes_names(cost, "threshold", f"cost a row; {price}")
    for axes in (found, cost):
        plots.plain(axes.legend(frameon=False, fontsize=plots.FONT - 1))
    return plots.finished(figure, title)


def calibration_figure(bins: "pd.DataFrame", errors: Mapping[str, float], classes: int, title: str) -> "Figure":
    """Return a reliability diagram: accuracy by confidence, above the number of predictions.

    Bins of one row stand by themselves, hollow: they are right or wrong, and no line leads through them.

    Args:
        bins: of one split: `classifier`, `low`, `high`, `rows`, `confidence`, `accuracy`, all bins of one width.
        errors: the expected calibration error of each classifier.
        classes: number of classes; no predicted label has a probability below one in so many.
        title: the line above.
    """
    from components.evaluation.metrics import wilson_interval

    figure = plots.new_figure(6.6, 6.2)
    share, count = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    share.plot([0, 1], [0, 1], label="perfectly calibrated", **plots.DOTTED)
    for place, (name, (colour, dash, marker, words)) in enumerate(STYLES.items()):
        points = bins[bins["classifier"] == name]
        line = {"color": colour, "linestyle": dash, "marker": marker, "linewidth": 1.6, "markersize": 5.5}
        label = f"{words} (calibration error {errors[name]:.3f})"
        several, single = points[points["rows"] > 1], points[points["rows"] == 1]
        share.plot(several["confidence"], several["accuracy"], label=label, **line)
        share.plot(single["confidence"], single["accuracy"], **{**line, "linestyle": "", "markerfacecolor": "none"})
        right = (points["rows"] * points["accuracy"]).round().astype(int)
        ends = list(map(wilson_interval, right, points["rows"]))
        low, high = [low for low, _ in ends], [high for _, high in ends]
        share.vlines(points["confidence"], low, high, color=colour, linewidth=1.2, alpha=0.55)
        width = points["high"] - points["low"]
        left = points["low"] + (0.04 + 0.31 * place) * width
        count.bar(left, points["rows"], 0.29 * width, align="edge", color=colour)
    lowest = max(0.0, 1 / classes - 0.02)
    share.set_xlim(lowest, 1.01)
    share.set_ylim(min(lowest, float(bins["accuracy"].min())) - 0.03, 1.03)
    count.set_yscale("log")
    count.set_ylim(bottom=0.7)
    plots.axes_names(share, "", "accuracy, with 95 % intervals")
    plots.axes_names(count, "confidence: probability of the predicted label", "rows")
    return plots.finished(figure, title, columns=1)


def lengths_figure(lengths: "pd.DataFrame", limit: int, title: str) -> "Figure":
    """Return how long the texts of each split are, in tokens before they are cut, and where they are cut.

    Args:
        lengths: `split`, `tokens`, `rows`: how many texts of a split have that many tokens.
        limit: tokens that a text is cut to.
        title: the line above.
    """
    import numpy as np
    from matplotlib.ticker import FuncFormatter

    figure = plots.new_figure(plots.WIDTH, 4.4)
    axes = figure.subplots()
    longest = int(lengths["tokens"].max())
    _, ends, name = plots.bins(longest, "tokens")
    widths = np.linspace(plots.BROAD, plots.NARROW, len(SPLIT_STYLES))
    for width, (split, (colour, dash)) in zip(widths, SPLIT_STYLES.items(), strict=True):
        part = lengths[lengths["split"] == split]
        if not (rows := int(part["rows"].sum())):
            continue
        shares, _ = np.histogram(part["tokens"], ends, weights=part["rows"] / rows)
        cut = float(part.loc[part["tokens"] > limit, "rows"].sum() / rows)
        words = f"{split}: {rows:,} texts, {100 * cut:.1f} % cut"
        axes.stairs(shares, ends, color=colour, linestyle=dash, linewidth=width, label=words)
    if limit <= 1.5 * longest:
        axes.axvline(limit, color="black", linewidth=1.2, label=f"cut at {limit:,} tokens")
    else:
        axes.plot([], [], " ", label=f"cut at {limit:,} tokens, far to the right")
    axes.set(xlim=(ends[0], None), ylim=(0, None))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _position: f"{100 * value:g} %"))
    plots.axes_names(axes, name, "share of the split's texts")
    return plots.finished(figure, title, columns=4)
