"""What an instruction run shows of itself."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from components.core.records import Manifest
from components.learned import LEARNED
from components.reporting.about import About
from components.reporting.findings import Findings, gathered
from components.reporting.instruction_evidence import evidence, perplexities, response_rows, score_title
from components.reporting.instruction_plots import figures
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
        replies=unread_replies(manifests["judge"]),
        samples=sample_groups(samples),
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
