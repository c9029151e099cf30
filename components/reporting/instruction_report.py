"""Everything about an instruction run on one page that opens offline: `report.html`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from components.core.records import Manifest
from components.reporting.instruction_card import how_to_ask, perplexities
from components.reporting.instruction_evidence import (
    instruction_limits,
    judge_sentence,
    response_figures,
    score_title,
)
from components.reporting.about import About
from components.reporting.report import render_page

if TYPE_CHECKING:
    import pandas as pd

SHOWN_WORST = 10
SHOWN_BEST = 5
SHOWN_STEPS = 8
"""Evaluations whose sample responses the page shows, the first and the last among them."""


def render_instruction(
    about: About,
    manifests: Mapping[str, Manifest],
    figures: Mapping[str, bytes],
    responses: "pd.DataFrame",
    samples: "pd.DataFrame",
) -> str:
    """Return the page: no script, nothing fetched from anywhere, every value escaped.

    Args:
        about: the run.
        manifests: of the steps `download` to `evaluate`.
        figures: PNG files by the name that the template knows them by; one that is missing is left out.
        responses: `responses.parquet` of the step `evaluate`: worst score first, rows without a score at the end.
        samples: `samples.parquet` of the step `fine_tune`, or no rows.
    """
    scored = responses[responses["score"].notna()]
    worst = scored.head(SHOWN_WORST)
    best = scored.iloc[len(worst) :].tail(SHOWN_BEST).iloc[::-1]
    scores = manifests["evaluate"].facts
    return render_page(
        "instruction_report.html",
        about,
        manifests,
        figures,
        response_figures=response_figures(scores),
        judge_sentence=judge_sentence(manifests["judge"].facts),
        score_title=score_title(scores["judge"]),
        limits=instruction_limits(manifests),
        perplexities=perplexities(manifests["fine_tune"].facts),
        shown={
            "worst": records(worst),
            "not read": records(responses[responses["score"].isna()].head(SHOWN_WORST)),
            "best": records(best),
        },
        replies=unread_replies(manifests["judge"]),
        samples=sample_groups(samples),
        how_to_ask=how_to_ask(about),
    )


def unread_replies(judged: Manifest) -> dict[int, str]:
    """Return what the judge replied on the model's responses where it could not be read, by row."""
    import pandas as pd

    verdicts = pd.read_parquet(judged.path("verdicts.parquet"), columns=["of", "row", "status", "reply"])
    unread = verdicts[(verdicts["of"] == "model") & (verdicts["status"] == "unparsed")]
    return {int(row): str(reply) for row, reply in zip(unread["row"], unread["reply"], strict=True)}


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
        groups.append({**entry, "responses": [rows[place] for place in places], "all": len(rows)})
    return groups
