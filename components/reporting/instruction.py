"""What an instruction run shows of itself, and what its figures say."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from components.core.records import Facts, Manifest
from components.evaluation.metrics import RESPONSES
from components.learned import LEARNED
from components.reporting.evidence import (
    NONE,
    PERCENT,
    POINTS,
    Evidence,
    KeyFigure,
    figure_rows,
    key_figures,
    score_title,
    written,
)
from components.reporting.evidence import limits as evidence_limits
from components.reporting.instruction_plots import figures
from components.reporting.pages import About, Findings, gathered
from components.reporting.plots import png

if TYPE_CHECKING:
    import pandas as pd

FILES = {
    "evaluate": ("responses.parquet", "metrics.json", LEARNED),
    "respond": ("instruction-data-with-response.json",),
    "judge": ("verdicts.parquet", "control.parquet", "rubric.yaml"),
}
"""Artifacts that are files of a step as they are; a rubric is there only where a language model judged."""
SHOWN_FIRST = ("score", "task", "instruction", "input", "response", "reference", "reason")
"""Columns of the table of responses that MLflow's page has room for."""
SAMPLES = ["step", "epoch", "row", "instruction", "input", "reference", "response"]
SHOWN_WORST = 10
SHOWN_BEST = 5
SHOWN_STEPS = 8
"""Evaluations whose sample responses the report shows, the first and the last among them."""

BESIDE = {"start": "starting model", "baseline": "baseline", "reference": "references"}
"""What the model is measured against, and what that is called."""
WIDE = 5.0
"""Half an interval of the mean score, in points, from which on a test set counts as small."""
FEW_ROWS = 10
"""Rows of a task in the test set below which its figures are rough."""
OVERFITTED = 1.5
"""Loss on validation over the one on train from which on it is worth a word."""
EXAMPLE = {"instruction": "an instruction", "input": "its input"}


def findings(about: About, manifests: Mapping[str, Manifest]) -> Findings:
    """Return what there is to be looked at of a run."""
    import pandas as pd

    scored, trained = manifests["evaluate"], manifests["fine_tune"]
    responses = pd.read_parquet(scored.path("responses.parquet"))
    samples = pd.DataFrame(columns=SAMPLES)
    if "samples.parquet" in trained.files:  # what the model answered to fixed prompts while it was trained
        samples = pd.read_parquet(trained.path("samples.parquet"))
    first = [name for name in SHOWN_FIRST if name in responses]
    tables = {"responses_test.json": responses[[*first, *responses.columns.difference(first, sort=False)]]}
    if len(samples):
        tables["samples.json"] = samples
    known = responses["score"].notna()
    worst, unread = responses[known].head(SHOWN_WORST), responses[~known].head(SHOWN_WORST)
    best = responses[known].iloc[len(worst) :].tail(SHOWN_BEST).iloc[::-1]
    verdicts = pd.read_parquet(manifests["judge"].path("verdicts.parquet"), columns=["of", "row", "status", "reply"])
    unparsed = verdicts[(verdicts["of"] == "model") & (verdicts["status"] == "unparsed")]
    return gathered(
        "instruction.html",
        about,
        manifests,
        evidence(manifests),
        figures={name: png(figure) for name, figure in figures(manifests, about.name)},
        tables=tables,
        rows=response_rows(scored.facts),
        names=FILES,
        score_title=score_title(scored.facts["judge"]),
        perplexities=perplexities(trained.facts),
        shown={"worst": records(worst), "not read": records(unread), "best": records(best)},
        replies=dict(zip(unparsed["row"], unparsed["reply"], strict=True)),
        samples=sample_groups(samples),
    )


def records(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """Return rows as dictionaries, with None for what is missing."""
    plain = frame.astype(object).where(frame.notna(), None)
    return [{str(name): value for name, value in row.items()} for row in plain.to_dict("records")]


def sample_groups(samples: "pd.DataFrame") -> list[dict[str, Any]]:
    """Return each entry that was answered while training, with its responses at some steps, evenly spread."""
    groups = []
    for _, group in samples.sort_values("step", kind="stable").groupby("row", sort=False):
        rows = records(group)
        places = sorted({round(place * (len(rows) - 1) / (SHOWN_STEPS - 1)) for place in range(SHOWN_STEPS)})
        entry = {name: rows[0][name] for name in ("row", "instruction", "input", "reference")}
        groups.append({**entry, "responses": [rows[place] for place in places]})
    return groups


def evidence(manifests: Mapping[str, Manifest]) -> Evidence:
    """Return what the figures of a run's steps say."""
    scores, trained = manifests["evaluate"].facts, manifests["fine_tune"].facts
    figures = response_figures(scores)
    after, before = perplexities(trained)
    template = "a template of its own" if trained["template"] == "own" else f"the template `{trained['template']}`"
    header = ("task", "test rows", "exact match before", "after", "baseline", "score before", "score after")
    groups: list[tuple[str, ...]] = [header] if scores["tasks"] else []
    for each in scores["tasks"]:
        exact = (written(each[name], PERCENT) for name in ("exact_match_before", "exact_match", "baseline_exact_match"))
        score = (written(each[name], POINTS) for name in ("score_before", "score"))
        groups.append((str(each["task"]), f"{each['rows']:,}", *exact, *score))
    first = []
    for figure in (each for each in figures if each.name in ("score", "exact_match")):
        start = "" if (value := figure.beside["start"]) is None else f", {figure.shown(value)} before training"
        first.append(f"{figure.title} **{figure.shown(figure.model)}** (95 % interval {figure.interval}){start}")
    return Evidence(
        figures=figures,
        beside=BESIDE,
        limits=limits(manifests),
        first=[*first, f"validation perplexity {after}"],
        rows="entries",
        what="A language model that follows instructions",
        seen=f" on {trained['tokens_seen']:,} tokens",
        takes=f"Instructions are written out by {template}, which is stored with it.",
        command=("respond", f'"{EXAMPLE["instruction"]}" --input "{EXAMPLE["input"]}"'),
        frame=f"[{json.dumps(EXAMPLE)}]",
        recipe=("model", "prompt", "train", "generation", "judge"),
        judge=judge_sentence(manifests["judge"].facts),
        more_figures=[("validation perplexity", f"**{after}**", NONE, before, NONE, NONE)],
        groups=groups,
    )


def response_figures(facts: Facts) -> list[KeyFigure]:
    """Return the figures of the step `evaluate` that one looks for, in order of interest.

    Where no language model judges, the score is a lexical measure, goes by that one's name and stands there once.
    """
    judge = facts["judge"]
    titles = {each.name: (each.title, PERCENT if each.high == 1 else POINTS) for each in RESPONSES}
    titles["score"] = (f"{score_title(judge)}, mean", POINTS)
    if not judge["is_language_model"]:
        titles["score_median"] = (f"{score_title(judge)}, median", POINTS)
        del titles["chrf"], titles["unparsed_share"], titles["score_spread"]
    return key_figures(facts["metrics"], titles, BESIDE)


def response_rows(facts: Facts) -> list[dict[str, Any]]:
    """Return the figures as rows of a table, one a metric, with the model beside what it is measured against."""
    return figure_rows(response_figures(facts), BESIDE, KeyFigure.shown)


def perplexities(trained: Facts) -> tuple[str, str]:
    """Return the perplexity on validation of the kept weights, and before training; a dash where it is not known."""
    losses = trained["validation_loss"], trained["initial_validation_loss"]
    after, before = (NONE if loss is None else f"{math.exp(loss):,.2f}" for loss in losses)
    return after, before


def judge_sentence(judged: Facts) -> str:
    """Say who gave the scores, in which version and by which rubric.

    Args:
        judged: the facts of the step `judge`.
    """
    judge, repeats, control = judged["judge"], judged["repeats"], judged.get("control")
    controlled = "" if not control or not control["rows"] else (
        f" As a control, on {control['rows']} rows another row's reference scores {control['other']:.1f} on average, "
        f"and the row's own {control['own']:.1f}."
    )  # fmt: skip
    if not judge["is_language_model"]:
        return (
            "Scores are chrF (0 to 100), a lexical measure: the characters that a response has in common with its "
            f"reference. No language model judged.{controlled}"
        )
    digest = f" with the digest {judge['digest']}" if judge["digest"] else ""
    often = f", from each response's {repeats} verdicts" if repeats > 1 else ""
    return (
        f"Scores (0 to 100) are those of a language model as the judge, {judge['name']}{digest}, by version "
        f"{judged['rubric']} of the rubric{often}.{controlled}"
    )


def limits(manifests: Mapping[str, Manifest]) -> list[str]:
    """Return what the evidence says against the model or against its figures, one sentence each."""
    facts = {name: manifest.facts for name, manifest in manifests.items()}
    scores, metrics, trained = facts["evaluate"], facts["evaluate"]["metrics"], facts["fine_tune"]
    half = (metrics.get("test/score_high", 0.0) - metrics.get("test/score_low", 0.0)) / 2
    tasks = [(each["task"], each["rows"]) for each in scores["tasks"]]
    own = [*_on_the_figures(scores), *_on_the_responses(facts["respond"]), *_on_the_training(manifests["fine_tune"])]
    if cut := trained["truncated_rows"].get("train", 0):
        own.append(
            f"{cut:,} of {facts['split']['rows']['train']:,} training entries are longer than "
            f"{trained['max_length']:,} tokens and were cut: their ends were not learnt."
        )
    return [
        *(text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".") for text in scores["warnings"]),
        *evidence_limits(facts, "entries", ("mean score", half, WIDE), ("Tasks", tasks, FEW_ROWS), own),
        "Nothing was measured on instructions from elsewhere: other tasks, languages or wordings may differ.",
    ]


def _on_the_figures(scores: Facts) -> Iterator[str]:
    metrics, tasks = scores["metrics"], scores["tasks"]
    if not scores["judge"]["is_language_model"]:
        yield "The scores compare characters with one reference: a right answer in other words scores low."
    if metrics.get("start/test/score", -1.0) >= metrics.get("test/score_low", math.inf):
        yield "The starting model's mean score is within the interval of the fine-tuned one's, or above it."
    baseline = metrics["baseline/test/exact_match"]
    if baseline >= metrics["test/exact_match_low"]:
        often = "more often than" if baseline > metrics["test/exact_match"] else "about as often as"
        whose = "Each task's" if tasks else "The"
        share = f"{100 * baseline:.1f} %"
        yield f"{whose} most common training response is right {often} the model, word for word: {share}."
    none = [each["task"] for each in tasks if each["exact_match"] == 0 and each["rows"] >= FEW_ROWS]
    if none and len(none) < len(tasks):
        yield f"Tasks of which it gives no reference word for word: {', '.join(none)}."


def _on_the_responses(responded: Facts) -> Iterator[str]:
    found = {
        "responses had not ended at generation.max_new_tokens, and were cut there": responded["stopped"].get("length"),
        "test entries left no room in the model's context for a whole response": responded["stopped"].get("no_room"),
        "responses are empty": responded["empty"],
    }
    yield from (f"{count:,} of {responded['rows']:,} {what}." for what, count in found.items() if count)


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
