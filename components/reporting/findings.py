"""What there is to be looked at of a run: figures, tables, the report, the model card and the run's description."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.records import Manifest
from components.reporting.about import About
from components.reporting.card import model_card
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
    files: list[Path]
    """Files of its steps, which become artifacts as they are."""


def write_pages(
    template: str,
    about: About,
    manifests: Mapping[str, Manifest],
    evidence: Evidence,
    figures: Mapping[str, bytes],
    **values: Any,
) -> dict[str, str]:
    """Return a run's `report.html` and `model_card.md`; the arguments are those of `components.reporting.report`."""
    report = render(template, about, manifests, evidence, figures, **values)
    return {"report.html": report, "model_card.md": model_card(about, manifests, evidence)}


def files_of(manifests: Mapping[str, Manifest], names: Mapping[str, Sequence[str]]) -> list[Path]:
    """Return the files with these names, by their step, that there are."""
    return [manifests[step].path(name) for step in names for name in names[step] if name in manifests[step].files]
