"""The model card: what a model is, what it was made from, how good it is, and what it must not be trusted with.

After Mitchell et al., "Model Cards for Model Reporting", 2019, as far as a run knows.
"""

from collections.abc import Iterable, Mapping

from components.core.records import Manifest
from components.reporting.about import About
from components.reporting.evidence import SPLITS, Evidence
from components.reporting.pages import render

Manifests = Mapping[str, Manifest]

DESCRIPTION_LIMIT = 4900
"""Characters of a version's description; MLflow's registry keeps 5,000."""


def model_card(about: About, manifests: Manifests, evidence: Evidence) -> str:
    """Return the whole card in Markdown."""
    return render("model_card.jinja", about, manifests, evidence)


def short_card(about: About, manifests: Manifests, evidence: Evidence) -> str:
    """Return the card's gist in Markdown, for the page of a registered version; cut to what that has room for."""
    facts = [
        *evidence.first,
        f"data: `{manifests['download'].facts['url']}`, {_sizes(manifests, evidence)}",
        f"the run has `report.html` and `model_card.md`: `{about.run_id}`",
    ]
    limits = "Limits:\n\n" + _bullets(evidence.limits)
    parts = [str(manifests["evaluate"].facts["verdict"]), _bullets(facts), about.lineage, evidence.judge, limits]
    text = "\n\n".join(filter(None, parts))
    return text if len(text) <= DESCRIPTION_LIMIT else text[: DESCRIPTION_LIMIT - 1] + "…"


def description(manifests: Manifests, evidence: Evidence) -> str:
    """Return a run's description in Markdown: the verdict, and the figures that one looks for first."""
    overlap = manifests["split"].facts["overlap"]["test"]
    facts = [
        *evidence.first,
        f"test {evidence.rows} that also stand in train: {overlap['exact']} word for word, "
        f"{overlap['folded']} after folding",
        _sizes(manifests, evidence),
    ]
    return "\n\n".join(filter(None, [str(manifests["evaluate"].facts["verdict"]), _bullets(facts), evidence.judge]))


def _bullets(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _sizes(manifests: Manifests, evidence: Evidence) -> str:
    rows = manifests["split"].facts["rows"]
    return ", ".join(f"{name} {rows[name]:,}" for name in SPLITS) + f" {evidence.rows}"
