"""The model card of a language model that follows instructions, after Mitchell et al., "Model Cards", 2019."""

import json
import math
from collections.abc import Mapping

from components.core.records import Facts, Manifest
from components.reporting.instruction_evidence import instruction_limits, judge_sentence, response_figures
from components.reporting.markdown import bullets, data_section, lineage_part, recipe_section, shortened, table
from components.reporting.evidence import SPLITS
from components.reporting.about import About

RECIPE = ("model", "prompt", "train", "generation", "judge")
"""Sections of the config that made the model or its figures."""
EXAMPLE = "an instruction"


def language_model_card(about: About, manifests: Mapping[str, Manifest]) -> str:
    """Return the whole card in Markdown."""
    scores = manifests["evaluate"].facts
    parts = [
        f"# {about.name}",
        f"> {scores['verdict']}",
        "## What it is\n\n" + _what(about, manifests["fine_tune"].facts),
        "## Figures on the test split\n\n" + _figures(scores, manifests["fine_tune"].facts),
        judge_sentence(manifests["judge"].facts),
        "## Limits\n\n" + bullets(instruction_limits(manifests)),
        "## Data\n\n" + data_section(about, manifests),
        "## Recipe\n\n" + recipe_section(about, RECIPE),
        "## How to use it\n\n" + _use(about),
    ]
    return "\n\n".join(parts) + "\n"


def short_language_model_card(about: About, manifests: Mapping[str, Manifest]) -> str:
    """Return the card's gist in Markdown, for the page of a registered version."""
    splits = manifests["split"].facts
    rows = ", ".join(f"{name} {splits['rows'][name]:,}" for name in SPLITS)
    parts = [
        str(manifests["evaluate"].facts["verdict"]),
        bullets(
            [
                *key_lines(manifests),
                f"data: `{manifests['download'].facts['url']}`, {rows} entries",
                f"the run has `report.html` and `model_card.md`: `{about.run_id}`",
            ]
        )
        + lineage_part(about),
        judge_sentence(manifests["judge"].facts),
        "Limits:\n\n" + bullets(instruction_limits(manifests)),
    ]
    return shortened("\n\n".join(parts))


def key_lines(manifests: Mapping[str, Manifest]) -> list[str]:
    """Return the figures that one looks for first, a line each: mean score, exact match, perplexity."""
    trained = manifests["fine_tune"].facts
    first = [each for each in response_figures(manifests["evaluate"].facts) if each.name in ("score", "exact_match")]
    lines = []
    for figure in first:
        before = "" if figure.start is None else f", {figure.shown(figure.start)} before training"
        lines.append(f"{figure.title} **{figure.shown(figure.model)}** (95 % interval {figure.interval}){before}")
    return [*lines, f"validation perplexity {perplexities(trained)[0]}"]


def _what(about: About, trained: Facts) -> str:
    weights = about.params.get("model.weights", "?")
    whole = trained["trained_parameters"] == trained["parameters"]
    how_many = "All" if whole else f"{trained['trained_parameters']:,}"
    template = "a template of its own" if trained["template"] == "own" else f"the template `{trained['template']}`"
    code = f", code `{about.code}`" if about.code else ""
    return (
        f"A language model that follows instructions: a GPT of {trained['parameters']:,} parameters that started from "
        f"`{weights}`. {how_many} of them were trained for {trained['steps']:,} steps on {trained['tokens_seen']:,} "
        f"tokens; the weights of step {trained['kept_step']:,} were kept. Instructions are written out by {template}, "
        "which is stored with it.\n\n"
        f"MLflow run `{about.run_id}`{code}." + lineage_part(about)
    )


def _figures(scores: Facts, trained: Facts) -> str:
    rows = [
        (
            figure.title,
            f"**{figure.shown(figure.model)}**",
            figure.interval or "–",
            *(figure.shown(value) for value in (figure.start, figure.baseline, figure.reference)),
        )
        for figure in response_figures(scores)
    ]
    perplexity, before = perplexities(trained)
    rows.append(("validation perplexity", f"**{perplexity}**", "–", before, "–", "–"))
    parts = [table(("metric", "model", "95 % interval", "starting model", "baseline", "references"), rows)]
    tasks = [
        (
            str(each["task"]),
            f"{each['rows']:,}",
            *(_shown(each[name], "%") for name in ("exact_match_before", "exact_match", "baseline_exact_match")),
            *(_shown(each[name], "f") for name in ("score_before", "score")),
        )
        for each in scores["tasks"]
    ]
    if tasks:
        header = ("task", "test rows", "exact match before", "after", "baseline", "score before", "score after")
        parts.append(table(header, tasks))
    return "\n\n".join(parts)


def _shown(value: float | None, how: str) -> str:
    return "–" if value is None else f"{value:.1{how}}".replace("%", " %")


def perplexities(trained: Facts) -> tuple[str, str]:
    """Return the perplexity on validation of the kept weights, and before training; a dash where it is not known."""
    losses = trained["validation_loss"], trained["initial_validation_loss"]
    after, before = ("–" if loss is None else f"{math.exp(loss):,.2f}" for loss in losses)
    return after, before


def _use(about: About) -> str:
    call = f"pandas.DataFrame([{json.dumps({'instruction': EXAMPLE, 'input': 'its input'})}])"
    return (
        f"```\n{how_to_ask(about)}\n```\n\n"
        "or, where Gradus is not installed, with `mlflow`:\n\n"
        "```python\nimport mlflow, pandas\n\n"
        f'model = mlflow.pyfunc.load_model("{about.model_uri}")\n'
        f"model.predict({call})\n```"
    )


def how_to_ask(about: About) -> str:
    """Return the command that asks the model."""
    return f'gradus respond {about.model_uri} "{EXAMPLE}" --input "its input"'
