"""What an instruction run shows of itself, and what its figures say."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from components.core.records import Facts, Manifest
from components.evaluation.metrics import RESPONSES
from components.learned import LEARNED
from components.reporting.evidence import PERCENT, POINTS, Evidence, KeyFigure, figure_rows, key_figures, score_title
from components.reporting.instruction_plots import figures
from components.reporting.pages import About, Findings, gathered, sentences
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
SHOWN_WORST = 10
SHOWN_BEST = 5
SHOWN_STEPS = 8
"""Evaluations whose sample responses the report shows, the first and the last among them."""

BESIDE = {"start": "starting model", "baseline": "baseline", "reference": "references"}
"""What the model is measured against, and what that is called."""


def findings(about: About, manifests: Mapping[str, Manifest]) -> Findings:
    """Return what there is to be looked at of a run."""
    import pandas as pd

    scored, trained = manifests["evaluate"], manifests["fine_tune"]
    responses = pd.read_parquet(scored.path("responses.parquet"))
    samples = pd.DataFrame(columns=["step", "row"])
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
        about,
        manifests,
        evidence(manifests),
        figures={name: png(figure) for name, figure in figures(manifests, about.name)},
        tables=tables,
        rows=response_rows(scored.facts),
        names=FILES,
        score_title=score_title(scored.facts["judge"]),
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
    return Evidence("instruction", response_figures(manifests["evaluate"].facts), BESIDE, limits(manifests))


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


def limits(manifests: Mapping[str, Manifest]) -> list[str]:
    """Return what the evidence says against the model or against its figures, one sentence each."""
    import pandas as pd

    trained = manifests["fine_tune"]
    history = pd.read_parquet(trained.path("history.parquet"))
    kept = history[history["step"] == trained.facts["kept_step"]].tail(1) if len(history) else history
    return sentences("instruction_limits.jinja", manifests, kept=next(iter(kept.to_dict("records")), None))
