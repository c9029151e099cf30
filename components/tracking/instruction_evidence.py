"""What an instruction run's figures say: the ones to read first, what they must beat, and the limits they show."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from components.core.records import Facts, Manifest
from components.evaluation.metrics import METRICS, RESPONSES

WIDE = 5.0
"""Half an interval of the mean score, in points, from which on a test set counts as small."""
FEW_ROWS = 10
"""Rows of a task in the test set below which its figures are rough."""
OVERFITTED = 1.5
"""Loss on validation over the one on train from which on it is worth a word."""


@dataclass(frozen=True)
class ResponseFigure:
    """A metric of the fine-tuned model with its 95 % interval, if it has one, beside what it is measured against."""

    name: str
    title: str
    model: float
    low: float | None = None
    high: float | None = None
    start: float | None = None
    baseline: float | None = None
    reference: float | None = None

    @property
    def interval(self) -> str:
        """The interval in words, or nothing."""
        return "" if self.low is None or self.high is None else f"{self.shown(self.low)} to {self.shown(self.high)}"

    @property
    def highest(self) -> float | None:
        """The end of the metric's scale, or None if it is not to be drawn on one."""
        return METRICS[self.name].high if METRICS[self.name].better else None

    def shown(self, value: float | None) -> str:
        """Return a value of this metric as text."""
        if value is None:
            return "–"
        return f"{100 * value:.1f} %" if METRICS[self.name].high == 1 else f"{value:.1f}"


def response_figures(facts: Facts) -> list[ResponseFigure]:
    """Return the figures of the step `evaluate` that one looks for, in order of interest.

    Where no language model judges, the score is a lexical measure, goes by that one's name and stands there once.
    """
    metrics, judge = facts["metrics"], facts["judge"]
    titles = {each.name: each.title for each in RESPONSES} | {"score": f"{score_title(judge)}, mean"}
    if not judge["is_language_model"]:
        titles["score_median"] = f"{score_title(judge)}, median"
        del titles["chrf"], titles["unparsed_share"], titles["score_spread"]
    return [
        ResponseFigure(
            name,
            title,
            metrics[f"test/{name}"],
            *(metrics.get(f"test/{name}_{end}") for end in ("low", "high")),
            *(metrics.get(f"{whose}/test/{name}") for whose in ("start", "baseline", "reference")),
        )
        for name, title in titles.items()
        if f"test/{name}" in metrics
    ]


def score_title(judge: Mapping[str, Any]) -> str:
    """Say what the scores are: a judge's, or a lexical measure, which no judge is."""
    return "score" if judge["is_language_model"] else "chrF"


def response_rows(facts: Facts) -> list[dict[str, Any]]:
    """Return the figures as rows of a table, one a metric, with the model beside what it is measured against."""
    return [
        {
            "metric": figure.title,
            "model": figure.shown(figure.model),
            "95 % interval": figure.interval,
            "starting model": figure.shown(figure.start),
            "baseline": figure.shown(figure.baseline),
            "references": figure.shown(figure.reference),
        }
        for figure in response_figures(facts)
    ]


def judge_sentence(judged: Facts) -> str:
    """Say who gave the scores, in which version and by which rubric.

    Args:
        judged: the facts of the step `judge`.
    """
    judge, repeats = judged["judge"], judged["repeats"]
    if not judge["is_language_model"]:
        return (
            "Scores are chrF (0 to 100), a lexical measure: the characters that a response has in common with its "
            f"reference. No language model judged.{_control(judged)}"
        )
    digest = f" with the digest {judge['digest']}" if judge["digest"] else ""
    often = f", from each response's {repeats} verdicts" if repeats > 1 else ""
    return (
        f"Scores (0 to 100) are those of a language model as the judge, {judge['name']}{digest}, by version "
        f"{judged['rubric']} of the rubric{often}.{_control(judged)}"
    )


def _control(judged: Facts) -> str:
    """Say what the judge gave to references of other rows, if it was asked."""
    control = judged.get("control")
    if not control or not control["rows"]:
        return ""
    return (
        f" As a control, on {control['rows']} rows another row's reference scores {control['other']:.1f} on average, "
        f"and the row's own {control['own']:.1f}."
    )


def instruction_limits(manifests: Mapping[str, Manifest]) -> list[str]:
    """Return what the evidence says against the model or against its figures, one sentence each."""
    facts = {name: manifest.facts for name, manifest in manifests.items()}
    return [
        *(_sentence(warning) for warning in facts["evaluate"]["warnings"]),
        *_on_the_figures(facts["split"], facts["evaluate"]),
        *_on_the_responses(facts["respond"]),
        *_on_the_training(manifests["fine_tune"]),
        *_on_the_data(facts["validate"], facts["split"], facts["fine_tune"]),
        "Nothing was measured on instructions from elsewhere: other tasks, languages or wordings may differ.",
    ]


def _on_the_figures(splits: Facts, scores: Facts) -> Iterator[str]:
    metrics, rows = scores["metrics"], splits["rows"]["test"]
    if not scores["judge"]["is_language_model"]:
        yield "The scores compare characters with one reference: a right answer in other words scores low."
    folded = splits["overlap"]["test"]["folded"]
    if folded:
        yield f"{folded:,} of {rows:,} test entries stand in train, but for case, digits or blanks: figures flatter."
    if "test/score" in metrics:
        half = (metrics["test/score_high"] - metrics["test/score_low"]) / 2
        if half > WIDE:
            yield f"The test set is small: {rows:,} entries give the mean score to within {half:.1f} points (95 %)."
        if (start := metrics.get("start/test/score")) is not None and start >= metrics["test/score_low"]:
            yield "The starting model's mean score is within the interval of the fine-tuned one's, or above it."
    baseline = metrics["baseline/test/exact_match"]
    if baseline >= metrics["test/exact_match_low"]:
        often = "more often than" if baseline > metrics["test/exact_match"] else "about as often as"
        whose = "Each task's" if scores["tasks"] else "The"
        share = f"{100 * baseline:.1f} %"
        yield f"{whose} most common training response is right {often} the model, word for word: {share}."
    yield from _on_the_tasks(scores["tasks"])


def _on_the_tasks(tasks: list[dict[str, Any]]) -> Iterator[str]:
    none = [each["task"] for each in tasks if each["exact_match"] == 0 and each["rows"] >= FEW_ROWS]
    if none and len(none) < len(tasks):
        yield f"Tasks of which it gives no reference word for word: {', '.join(none)}."
    few = [f"{each['task']} ({each['rows']:,})" for each in tasks if each["rows"] < FEW_ROWS]
    if few:
        yield f"Tasks with fewer than {FEW_ROWS} test entries, whose own figures are rough: {', '.join(few)}."


def _on_the_responses(responded: Facts) -> Iterator[str]:
    rows, stopped = responded["rows"], responded["stopped"]
    if cut := stopped.get("length", 0):
        yield f"{cut:,} of {rows:,} responses had not ended at generation.max_new_tokens, and were cut there."
    if no_room := stopped.get("no_room", 0):
        yield f"{no_room:,} of {rows:,} test entries left no room in the model's context for a whole response."
    if empty := responded["empty"]:
        yield f"{empty:,} of {rows:,} responses are empty."


def _on_the_training(trained: Manifest) -> Iterator[str]:
    import pandas as pd

    history = pd.read_parquet(trained.path("history.parquet"))
    kept = history[history["step"] == trained.facts["kept_step"]].tail(1) if len(history) else history
    for row in kept.to_dict("records"):
        if row["validation_loss"] > OVERFITTED * row["train_loss"]:
            yield (
                f"Its loss is {row['validation_loss']:.2f} on validation but {row['train_loss']:.2f} on train: "
                "it knows its training entries better than the task."
            )


def _on_the_data(checked: Facts, splits: Facts, trained: Facts) -> Iterator[str]:
    left_out = checked["rows_in"] - checked["rows_out"]
    if left_out:
        yield f"{left_out:,} of {checked['rows_in']:,} entries failed validation and were left out of all splits."
    folded = splits["overlap"]["validation"]["folded"]
    if folded:
        yield f"{folded:,} validation entries also stand in train: the step that was kept may not be the best."
    if cut := trained["truncated_rows"].get("train", 0):
        yield (
            f"{cut:,} of {splits['rows']['train']:,} training entries are longer than {trained['max_length']:,} tokens "
            "and were cut: their ends were not learnt."
        )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
