"""What there is to be looked at of a run: figures, tables, the report, the model card and the run's description."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.records import Manifest
from components.reporting.about import About
from components.reporting.card import description, model_card
from components.reporting.evidence import Evidence
from components.reporting.pages import environment_versions, render

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Findings:
    """What a run shows of itself, by the names of the artifacts that it becomes."""

    tables: "Mapping[str, pd.DataFrame]"
    figures: Mapping[str, bytes]
    """PNG files, by their names without `.png`."""
    pages: Mapping[str, str]
    """`report.html` and `model_card.md`."""
    description: str
    """In Markdown: the verdict, and the figures that one looks for first."""
    rows: list[dict[str, Any]]
    """The metrics as a table, a row a metric."""
    files: list[Path]
    """Files of its steps, which become artifacts as they are."""


def gathered(
    template: str,
    about: About,
    manifests: Mapping[str, Manifest],
    evidence: Evidence,
    figures: Mapping[str, bytes],
    tables: "Mapping[str, pd.DataFrame]",
    rows: list[dict[str, Any]],
    names: Mapping[str, Sequence[str]],
    **values: Any,
) -> Findings:
    """Return what a run shows of itself, with its report and its card.

    `template` makes the report of the run's kind, which shows the `figures` that are there and, besides what every
    page is given (`components.reporting.pages`), `values`. `names` are, by step, those of files to keep, where there.
    """
    validation = json.loads(manifests["validate"].path("report.json").read_text(encoding="utf-8"))
    values |= {"figures": figures, "validation": validation, "versions": environment_versions()}
    pages = {
        "report.html": render(template, about, manifests, evidence, **values),
        "model_card.md": model_card(about, manifests, evidence),
    }
    there = [manifests[step].path(name) for step in names for name in names[step] if name in manifests[step].files]
    return Findings(tables, figures, pages, description(manifests, evidence), rows, there)
