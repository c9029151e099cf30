"""The figures of an instruction run: learning curves, scores, tasks, and how long the responses are.

The fine-tuned model is blue, the starting model vermilion, references green.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from components.core.records import Manifest
from components.reporting import plots
from components.reporting.evidence import score_title

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

WHOSE = {
    "model": (plots.BLUE, "", "fine-tuned"),
    "start": (plots.VERMILION, "////", "starting model"),
    "reference": (plots.GREEN, "....", "references"),
}
"""Whose responses were judged: colour, hatch and name."""
STEEP = 50.0
"""Perplexities that differ by this factor are drawn on a logarithmic scale."""
EDGE: "dict[str, Any]" = {"edgecolor": "white", "linewidth": 0.4}
MOST_TASKS = 40
LONGEST_NAME = 32
STOPPED = {
    "end": "ended",
    "marker": "ended at a marker",
    "length": "cut at max_new_tokens",
    "no_room": "cut where the context ends",
}


def figures(manifests: Mapping[str, Manifest], run_name: str) -> "Iterator[tuple[str, Figure]]":
    """Yield the figures of a run with the names of their files, one at a time, so that one is in memory."""
    import pandas as pd

    trained, scored = manifests["fine_tune"], manifests["evaluate"]
    scores = scored.facts
    history = pd.read_parquet(trained.path("history.parquet"))
    if len(history):
        yield "curves", loss_figure(history, trained.facts["kept_step"], run_name)
    judge = scores["judge"]
    histogram, name = pd.read_parquet(scored.path("figures/scores.parquet")), f"{score_title(judge)} (0 to 100)"
    title, may_lack = f"{run_name}: {judge['name']}", bool(judge["is_language_model"])
    yield "scores", scores_figure(histogram, scores["metrics"], name, title, may_lack)
    if len(tasks := pd.read_parquet(scored.path("tasks.parquet"))):
        yield "tasks", tasks_figure(tasks, score_title(judge), "test split, by task (test rows)")
    lengths = pd.read_parquet(scored.path("responses.parquet"), columns=["new_tokens", "stopped"])
    yield "lengths", lengths_figure(lengths, "lengths of the responses to the test split, and why they end")


def loss_figure(history: "pd.DataFrame", kept_step: int, title: str = "") -> "Figure":
    """Return loss and perplexity against epochs, with tokens seen on a second axis on top.

    Args:
        history: as for `learning_curves`: `tokens_seen`, `train_loss`, `validation_loss` (nats a token).
        kept_step: the step whose weights were kept; a line marks it.
        title: the line above both panels.
    """
    import numpy as np

    perplexities = {f"{split}_perplexity": np.exp(history[f"{split}_loss"]) for split in ("train", "validation")}
    panels = {
        "loss": ("cross-entropy loss (nats a token)", plots.from_zero),
        "perplexity": ("perplexity", _from_one),
    }
    return plots.learning_curves(history.assign(**perplexities), panels, "tokens", title, kept_step)


def _from_one(axes: "Axes", values: "NDArray[Any]") -> None:
    """Begin at 1, the least perplexity, on a logarithmic scale if the values are far apart; else at zero."""
    from matplotlib.ticker import NullFormatter

    high = float(values.max(initial=0.0))
    if high > STEEP * max(float(values.min(initial=high)), 1.0):
        axes.set_yscale("log")
        axes.set_ylim(1.0, 2 * high)
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(plots.thousands())
    else:
        plots.from_zero(axes, values)


def scores_figure(
    scores: "pd.DataFrame", metrics: Mapping[str, float], name: str, title: str, may_lack: bool = True
) -> "Figure":
    """Return how many responses have which score, of all whose responses were judged, side by side.

    Args:
        scores: `of` (`model`, `start`, `reference`), `low`, `high`, `rows`: bars of one width; the rows without a
            score in a line without `low` and `high`.
        metrics: the flat metrics, for the means and their intervals.
        name: what the score is.
        title: the line above.
        may_lack: whether a response can be without a score, as those are of which a reply could not be read.
    """
    figure = plots.new_figure(plots.WIDTH, 4.8)
    axes = figure.subplots()
    there = [of for of in WHOSE if (scores["of"] == of).any()]
    edge = float(scores["high"].max())
    step = edge - float(scores["low"].max())
    width = 0.86 * step / len(there)
    for place, of in enumerate(there):
        colour, hatch, words = WHOSE[of]
        part = scores[scores["of"] == of].fillna({"low": edge + 0.5 * step})
        shift = 0.07 * step + place * width
        label, look = f"{words}: {_mean(metrics, of)}", {"color": colour, "hatch": hatch, **EDGE}
        axes.bar(part["low"] + shift, part["rows"], width, align="edge", label=label, **look)
    ticks = {low: f"{low:g}" for low in [*sorted(scores["low"].dropna().unique()), edge]}
    right = edge + 0.3 * step
    if may_lack:  # those without a score stand apart, and where there are none it is said
        apart, right = edge + step, edge + 1.6 * step
        ticks[apart] = "not\nparsed"
        axes.axvline(edge + 0.25 * step, color=plots.GREY, linewidth=0.8, linestyle=":")
        if not scores.loc[scores["low"].isna(), "rows"].sum():
            axes.text(apart, 0, "none", ha="center", va="bottom", color=plots.GREY, fontsize=plots.FONT - 2)
    axes.set_xticks([*ticks], [*ticks.values()])
    axes.set_xlim(-0.3 * step, right)
    _whole_numbers(axes)
    plots.axes_names(axes, name, "responses")
    axes.grid(visible=False, axis="x")
    return plots.finished(figure, title, columns=3)


def _mean(metrics: Mapping[str, float], of: str) -> str:
    prefix = "" if of == "model" else f"{of}/"
    score, low, high = (metrics.get(f"{prefix}test/score{end}") for end in ("", "_low", "_high"))
    if score is None:
        return "no score"
    between = "" if low is None or high is None else f" (95 % {low:.1f} to {high:.1f})"
    return f"mean {score:.1f}{between}"


def tasks_figure(tasks: "pd.DataFrame", score: str, title: str) -> "Figure":
    """Return exact match and mean score of each task, before and after training, with the baseline.

    Args:
        tasks: a row a task: `task`, `rows`, `exact_match_before`, `exact_match`, `baseline_exact_match` (0 to 1),
            `score_before`, `score` (0 to 100); nan where there is none. The largest are drawn if there are many.
        score: what the score is.
        title: the line above both panels.
    """
    tasks = tasks.head(MOST_TASKS).iloc[::-1].reset_index(drop=True)
    figure = plots.new_figure(plots.WIDTH, 1.9 + 0.42 * len(tasks))
    exact, scores = figure.subplots(1, 2, sharey=True)
    _arrows(exact, 100 * tasks["exact_match_before"], 100 * tasks["exact_match"])
    mark: dict[str, Any] = {"marker": "|", "s": 170, "color": "black", "linewidth": 2, "zorder": 4}
    words = "baseline: the task's most common training response"
    exact.scatter(100 * tasks["baseline_exact_match"], tasks.index, label=words, **mark)
    _arrows(scores, tasks["score_before"], tasks["score"], hidden="_")
    short = (
        task if len(task) <= LONGEST_NAME else f"{task[: LONGEST_NAME - 1]}…" for task in tasks["task"].astype(str)
    )
    names = [f"{name} ({rows:,})" for name, rows in zip(short, tasks["rows"], strict=True)]
    exact.set_yticks(tasks.index, names, parse_math=False)
    exact.set_ylim(-0.7, len(tasks) - 0.3)
    for axes, what in ((exact, "exact match (%)"), (scores, f"{score}, mean (0 to 100)")):
        axes.set_xlim(-3, 103)
        plots.axes_names(axes, what, "")
        axes.tick_params(axis="y", length=0)
    return plots.finished(figure, title, columns=3)


def _arrows(axes: "Axes", before: "pd.Series[float]", after: "pd.Series[float]", hidden: str = "") -> None:
    """Draw a line from a hollow point, before, to a full one, after; where nothing was before only the latter.

    An underscore keeps the points out of the legend.
    """
    both = before.notna() & after.notna()
    axes.hlines(before.index[both], before[both], after[both], color=plots.BLUE, alpha=0.35, linewidth=3)
    if before.notna().any():
        hollow: dict[str, Any] = {"facecolor": "white", "edgecolor": plots.VERMILION, "linewidth": 1.8}
        axes.scatter(before, before.index, s=95, label=f"{hidden}before", zorder=5, **hollow)
    axes.scatter(after, after.index, s=38, color=plots.BLUE, label=f"{hidden}after training", zorder=6)


def lengths_figure(responses: "pd.DataFrame", title: str) -> "Figure":
    """Return how long the responses are in tokens, and why they end.

    Args:
        responses: `new_tokens` and `stopped` (`end`, `marker`, `length`, `no_room`) of every response.
        title: the line above.
    """
    import numpy as np
    from matplotlib.ticker import MaxNLocator

    figure = plots.new_figure(plots.WIDTH, 4.2)
    axes = figure.subplots()
    longest = int(responses["new_tokens"].max()) if len(responses) else 0
    width, ends, name = plots.bins(longest, "new tokens")
    reasons = [*STOPPED, *sorted(set(responses["stopped"]) - set(STOPPED))]
    below = np.zeros(len(ends) - 1)
    for place, reason in enumerate(reasons):
        part = responses.loc[responses["stopped"] == reason, "new_tokens"]
        if part.empty:
            continue
        rows, _ = np.histogram(part, ends)
        label = f"{STOPPED.get(reason, reason)}: {len(part):,}"
        colour = plots.PALETTE[place % len(plots.PALETTE)]
        axes.bar(ends[:-1], rows, width, below, align="edge", color=colour, label=label, **EDGE)
        below += rows
    _whole_numbers(axes)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(top=1.08 * max(float(below.max()), 1.0))
    plots.axes_names(axes, name, "responses")
    axes.grid(visible=False, axis="x")
    return plots.finished(figure, title, columns=4 if len(responses) else 0)


def _whole_numbers(axes: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(plots.thousands())
    axes.set_ylim(bottom=0)
