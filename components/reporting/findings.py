"""What there is to be looked at of a run: figures, tables, the report, the model card and the run's description."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.core.records import Manifest
from components.reporting.about import About
from components.reporting.card import description, model_card
from components.reporting.evidence import Evidence
from components.reporting.report import render

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


def compose(
    about: About,
    manifests: Mapping[str, Manifest],
    evidence: Evidence,
    template: str,
    tables: "Mapping[str, pd.DataFrame]",
    figures: Mapping[str, bytes],
    rows: list[dict[str, Any]],
    **values: Any,
) -> Findings:
    """Write a run's pages and return them with its tables, figures and rows of metrics.

    Args:
        about: the run.
        manifests: of its steps, `download` to `evaluate`.
        evidence: what it shows.
        template: of its report, one of this folder's.
        tables: by the names of their artifacts (.json).
        figures: PNG files by their names without `.png`.
        rows: its metrics as a table.
        **values: what else the template shows.
    """
    report = render(template, about, manifests, evidence, figures, **values)
    pages = {"report.html": report, "model_card.md": model_card(about, manifests, evidence)}
    return Findings(tables, figures, pages, description(manifests, evidence), rows)
