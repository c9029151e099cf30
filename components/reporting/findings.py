"""What there is to be looked at of a run: figures, tables, the report, the model card and the run's description."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.records import Manifest
from components.reporting.about import About
from components.reporting.card import model_card
from components.reporting.evidence import metrics_rows
from components.reporting.figures import png
from components.reporting.instruction_card import key_lines, language_model_card
from components.reporting.instruction_evidence import judge_sentence, response_rows
from components.reporting.instruction_figures import figures
from components.reporting.instruction_report import render_instruction
from components.reporting.report import render

if TYPE_CHECKING:
    import pandas as pd

SHOWN_PREDICTIONS = 10_000
"""Rows of the table `predictions_test.json`: as many as tracking keeps of a table."""
SURE_ERRORS = 50
"""Errors in the table `errors_test.json`."""
ERROR_COLUMNS = ["label", "predicted", "probability", "svm", "tfidf", "row", "text"]
SHOWN_FIRST = ("score", "task", "instruction", "input", "response", "reference", "reason")
"""Columns of the table of responses that MLflow's page has room for."""


@dataclass(frozen=True)
class Findings:
    """What a run shows of itself, by the names of the artifacts that it becomes."""

    tables: "Mapping[str, pd.DataFrame]"
    figures: Mapping[str, bytes]
    """PNG files, by their names without `.png`."""
    pages: Mapping[str, str]
    """`report.html` and `model_card.md`."""
    note: str
    """The run's description in Markdown: the verdict, and the figures that one looks for first."""
    rows: list[dict[str, Any]]
    """The metrics as a table, a row a metric."""


def classification_findings(about: About, manifests: Mapping[str, Manifest]) -> Findings:
    """Return the findings of a classification run; its figures were drawn by the step `evaluate`."""
    scored = manifests["evaluate"]
    predictions = first_predictions(scored.path("predictions.parquet"), SHOWN_PREDICTIONS)
    errors = predictions.loc[~predictions["correct"], ERROR_COLUMNS].head(SURE_ERRORS)
    files = (scored.path(name) for name in scored.files if name.endswith(".png"))
    drawn = {path.stem: path.read_bytes() for path in files}
    pages = {"report.html": render(about, manifests, drawn, errors), "model_card.md": model_card(about, manifests)}
    tables = {"predictions_test.json": predictions, "errors_test.json": errors}
    return Findings(tables, drawn, pages, classification_note(manifests), metrics_rows(scored.facts))


def first_predictions(path: Path, most: int) -> "pd.DataFrame":
    """Return the first rows of the test split, which stand first in the file: its errors, then what is right."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    batch = next(file.iter_batches(most), None)
    frame: pd.DataFrame = file.schema_arrow.empty_table().to_pandas() if batch is None else batch.to_pandas()
    return frame[frame["split"] == "test"].drop(columns="split").reset_index(drop=True)


def classification_note(manifests: Mapping[str, Manifest]) -> str:
    """Return the run's description in Markdown: the verdict, and the figures that one looks for first."""
    splits, scores = manifests["split"].facts, manifests["evaluate"].facts
    metrics, overlap = scores["metrics"], splits["overlap"]["test"]
    lines = [
        str(scores["verdict"]),
        "",
        f"- test accuracy **{metrics['test/accuracy']:.2%}** "
        f"(95 % interval {metrics['test/accuracy_low']:.2%} to {metrics['test/accuracy_high']:.2%})",
        f"- test rows that also stand in train: {overlap['exact']} word for word, {overlap['folded']} after folding",
        "- " + ", ".join(f"{name} {count:,}" for name, count in splits["rows"].items()) + " rows",
    ]
    return "\n".join(lines)


def instruction_findings(about: About, manifests: Mapping[str, Manifest]) -> Findings:
    """Return the findings of an instruction run."""
    import pandas as pd

    scored = manifests["evaluate"]
    responses = pd.read_parquet(scored.path("responses.parquet"))
    samples = sample_responses(manifests["fine_tune"])
    first = [name for name in SHOWN_FIRST if name in responses]
    tables = {"responses_test.json": responses[[*first, *responses.columns.difference(first, sort=False)]]}
    if len(samples):
        tables["samples.json"] = samples
    drawn = {name: png(figure) for name, figure in figures(manifests, about.name)}
    report = render_instruction(about, manifests, drawn, responses, samples)
    pages = {"report.html": report, "model_card.md": language_model_card(about, manifests)}
    return Findings(tables, drawn, pages, instruction_note(manifests), response_rows(scored.facts))


def sample_responses(trained: Manifest) -> "pd.DataFrame":
    """Return what the model answered to fixed prompts while it was trained; no rows if it was not asked."""
    import pandas as pd

    if "samples.parquet" in trained.files:
        return pd.read_parquet(trained.path("samples.parquet"))
    return pd.DataFrame(columns=["step", "epoch", "row", "instruction", "input", "reference", "response"])


def instruction_note(manifests: Mapping[str, Manifest]) -> str:
    """Return the run's description in Markdown: the verdict, and the figures that one looks for first."""
    splits, scores = manifests["split"].facts, manifests["evaluate"].facts
    overlap = splits["overlap"]["test"]
    lines = [
        str(scores["verdict"]),
        "",
        *(f"- {line}" for line in key_lines(manifests)),
        f"- test entries that also stand in train: {overlap['exact']} word for word, {overlap['folded']} after folding",
        "- " + ", ".join(f"{name} {count:,}" for name, count in splits["rows"].items()) + " entries",
        "",
        judge_sentence(manifests["judge"].facts),
    ]
    return "\n".join(lines)
