"""The page `docs/results.md`, from what is on file and nothing else."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import mean
from typing import NamedTuple

import numpy as np

from benchmarks.quality.outcomes import OURS, UNTOUCHED, Cost, Outcome, Outcomes
from components.evaluation.paired.comparison import MetricPair, compare_scores
from components.evaluation.seeds import t_interval

NONE = "–"
TITLES = {
    OURS: "**fine-tuned by Gradus**",
    UNTOUCHED: "as it comes, zero-shot, its own template",
    "3-shot": "as it comes, three examples in the prompt",
    "tfidf": "TF-IDF + logistic regression",
    "svm": "words and characters + linear SVM",
    "transformers": "fine-tuned by `transformers`, same recipe",
}
"""Contestants in the order of the tables, and what they are called there."""
REMARKS = {
    "banking77": "Published: 93 to 94 % for fine-tuned encoders: BERT-Large in [Casanueva et al., 2020]"
    "(https://aclanthology.org/2020.nlp4convai-1.5), and since then ModernBERT-base with 94.0 % in [a model's card]"
    "(https://huggingface.co/sukhrobnurali/modernbert-base-banking77), ten times as large as MiniLM and more.",
    "spam-smollm2": "Two blocks are trained; the peer of `transformers` trains all parameters, so it is none here.",
    "korean-topics": "The network begins with random weights, so there is nothing to ask before training, and nothing "
    "that `transformers` could begin with too.",
}
"""What others report of a preset's data, on its published split, and why somebody is not among the contestants."""
SCALE = {"chrf": (1.0, "chrF", ""), "accuracy": (100.0, "accuracy", " %")}
"""By metric: what its values are multiplied by, what it is called, and its unit."""

HEAD = """\
# What does fine-tuning give?

    .venv/bin/python -m benchmarks.results

runs the presets by `gradus run`, each with three seeds of the training (the split stays the same), then what they are
measured beside, and writes this page and the files that it is drawn from, `benchmarks/results/<preset>.json`. What is
on file is not run again. Nothing is left out for being bad; what is missing is named at the end of each section.

Three kinds of intervals, all 95 %: *over seeds* says how far another training may come out otherwise (Student's t, from
two seeds on); *over rows*, of each seed, how far other test rows may (bootstrap); and *paired* how much better the
fine-tuned model is on the same rows (bootstrap over rows, of the mean over seeds: over those that both have where the
other is trained, too)."""


class Column(NamedTuple):
    """How the values of a metric are written."""

    scale: float
    title: str
    unit: str

    def shown(self, value: float, sign: str = "") -> str:
        """Return a value as text."""
        return f"{value * self.scale:{sign}.1f}"

    def between(self, ends: Sequence[float], sign: str = "") -> str:
        """Return an interval as text."""
        return " to ".join(self.shown(end, sign) for end in ends)


def page(files: Sequence[Outcomes], wanted: Mapping[str, Mapping[str, Sequence[int]]], absent: Sequence[str]) -> str:
    """Return the page.

    Args:
        files: what is on file, a preset each.
        wanted: by preset and contestant the seeds that should be there.
        absent: presets of which nothing is on file.
    """
    parts = [HEAD, _summary(files)]
    parts += [section(each, wanted.get(each.preset, {})) for each in files]
    if absent:
        parts.append(f"## Not run\n\nNo figures of {', '.join(f'`{preset}`' for preset in absent)} yet.")
    return "\n\n".join(parts) + "\n"


def _summary(files: Sequence[Outcomes]) -> str:
    rows = []
    for each in files:
        column = Column(*SCALE[each.metric])
        ours = each.by(OURS)
        others = ((who, mean(each.mean_values(who))) for who in TITLES if who not in {OURS, UNTOUCHED} and each.by(who))
        best = max(others, key=lambda pair: pair[1], default=None)
        rows.append(
            (
                f"[`{each.preset}`](#{each.preset})",
                f"{each.train_rows:,} / {len(each.rows):,}",
                column.title + column.unit,
                over_seeds(ours, column),
                column.shown(mean(each.mean_values(UNTOUCHED))) if each.by(UNTOUCHED) else NONE,
                f"{column.shown(best[1])} ({TITLES[best[0]]})" if best else NONE,
            )
        )
    head = ("preset", "rows trained / tested", "metric", "fine-tuned", "before", "best of the others")
    return table(head, rows)


def section(found: Outcomes, wanted: Mapping[str, Sequence[int]]) -> str:
    """Return what there is to say of a preset."""
    column = Column(*SCALE[found.metric])
    ours = found.by(OURS)
    trained = f", {ours[0].trained_parameters:,} parameters" if ours and ours[0].trained_parameters else ""
    lines = [
        f"## {found.preset}",
        f"Trained on {found.train_rows:,} rows{trained}; tested on {len(found.rows):,} rows by {column.title}.",
        table(
            ("", f"{column.title}{column.unit}, over seeds", "each seed, over rows", "fine-tuned less this, paired"),
            [_row(found, who, column) for who in TITLES if found.by(who)],
        ),
    ]
    lines += [REMARKS.get(found.preset, ""), _costs(found), _notes(found)]
    missing = {who: [str(seed) for seed in seeds if not found.has(who, seed)] for who, seeds in wanted.items()}
    named = [f"{TITLES[who].strip('*')} (seeds {', '.join(seeds)})" for who, seeds in missing.items() if seeds]
    if named:
        lines.append(f"Not run to the end: {'; '.join(named)}.")
    return "\n\n".join(filter(None, lines))


def _row(found: Outcomes, who: str, column: Column) -> tuple[str, ...]:
    outcomes = found.by(who)
    each = []
    for one in outcomes:
        values = np.asarray(one.values)
        alone = compare_scores(values, values)
        seed = f"{one.seed}: " if one.seed is not None else ""
        each.append(f"{seed}{column.shown(alone.first)} ({column.between(alone.first_interval)})")
    pair = None if who == OURS else against(found, who)
    gain = f"{column.shown(pair.difference, '+')} ({column.between(pair.difference_interval, '+')})" if pair else NONE
    return TITLES[who], over_seeds(outcomes, column), "<br>".join(each), gain


def against(found: Outcomes, who: str) -> MetricPair | None:
    """Compare our model with a contestant, row by row; None where there is nothing to compare.

    One that is trained too is compared over the seeds that both have, all others over all seeds.
    """
    ours, theirs = found.by(OURS), found.by(who)
    seeds = [each.seed for each in ours if each.seed is not None]
    if any(each.trained_parameters for each in theirs):
        seeds = [seed for seed in seeds if found.has(who, seed)]
        return compare_scores(found.mean_values(who, seeds), found.mean_values(OURS, seeds)) if seeds else None
    return compare_scores(found.mean_values(who), found.mean_values(OURS)) if ours and theirs else None


def over_seeds(outcomes: Sequence[Outcome], column: Column) -> str:
    """Return the mean over seeds with its interval, or say that there is one seed only."""
    means = [mean(each.values) for each in outcomes]
    if not means:
        return NONE
    if any(each.seed is None for each in outcomes):
        return column.shown(means[0])
    if len(means) == 1:
        return f"{column.shown(means[0])} (one seed)"
    low, high = t_interval(means)
    return f"{column.shown(mean(means))} ({column.between((low, high))}; {len(means)} seeds)"


def _costs(found: Outcomes) -> str:
    rows = [(who, each, each.cost) for who in TITLES for each in found.by(who) if each.cost]
    if not rows:
        return ""
    head = ("training", "seed", "minutes", "peak memory", "processor", "precision", "day", "versions")
    return table(head, [_cost(who, each, cost) for who, each, cost in rows])


def _cost(who: str, each: Outcome, cost: Cost) -> tuple[str, ...]:
    minutes = NONE if cost.minutes is None else f"{cost.minutes:.0f}{' (busy machine)' if cost.busy else ''}"
    peak = NONE if cost.peak_gb is None else f"{cost.peak_gb:.1f} GB"
    shown = ("torch", "transformers") if who == "transformers" else ("torch",)
    versions = ", ".join(f"{name} {each.versions[name]}" for name in shown if name in each.versions)
    return TITLES[who].strip("*"), str(each.seed), minutes, peak, cost.cpu, cost.precision or NONE, each.day, versions


def _notes(found: Outcomes) -> str:
    noted = ((title.strip("*"), each) for who, title in TITLES.items() for each in found.by(who) if each.note)
    return "\n".join(f"- {title}, seed {each.seed}: {each.note}" for title, each in noted)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
