"""What can be seen of a classification run: figures, the surest errors, the report and the model card."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from components.core.records import Manifest
from components.tracking.card import model_card
from components.tracking.lineage import ancestors
from components.tracking.report import About, render
from components.tracking.runs import TABLE_ROWS, Run

if TYPE_CHECKING:
    import pandas as pd

SURE_ERRORS = 50
"""Errors in the table `errors_test.json`."""
ERROR_COLUMNS = ["label", "predicted", "probability", "svm", "tfidf", "row", "text"]


def log_findings(run: Run, manifests: Mapping[str, Manifest]) -> None:
    """Log `plots/`, `report.html`, `model_card.md`, and the tables of predictions and errors on the test split.

    Raises:
        TrackingError: if the store cannot be written.
    """
    predictions = first_predictions(manifests["evaluate"].path("predictions.parquet"), TABLE_ROWS)
    errors = predictions.loc[~predictions["correct"], ERROR_COLUMNS].head(SURE_ERRORS)
    run.log_table(predictions, "predictions_test.json")
    run.log_table(errors, "errors_test.json")
    about = about_run(run)
    files = (manifests["evaluate"].path(name) for name in manifests["evaluate"].files if name.endswith(".png"))
    drawn = {path.stem: path.read_bytes() for path in files}
    log_pages(run, drawn, render(about, manifests, drawn, errors), model_card(about, manifests))


def log_pages(run: Run, drawn: Mapping[str, bytes], report: str, card: str) -> None:
    """Log figures (PNG files by name) as `plots/<name>.png`, `report.html` and `model_card.md`.

    Raises:
        TrackingError: if the store cannot be written.
    """
    with tempfile.TemporaryDirectory() as folder:
        plots = Path(folder) / "plots"
        plots.mkdir()
        for name, content in drawn.items():
            (plots / f"{name}.png").write_bytes(content)
        (Path(folder) / "report.html").write_text(report, encoding="utf-8")
        (Path(folder) / "model_card.md").write_text(card, encoding="utf-8")
        run.log_file(Path(folder))


def about_run(run: Run) -> About:
    """Return what a run knows of itself: its config and the version of its code, and what it goes back to."""
    return About(run.name, run.run_id, run.params, run.tags, ancestors(run))


def first_predictions(path: Path, most: int) -> "pd.DataFrame":
    """Return the first rows of the test split, which stand first in the file: its errors, then what is right."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    batch = next(file.iter_batches(most), None)
    frame: pd.DataFrame = file.schema_arrow.empty_table().to_pandas() if batch is None else batch.to_pandas()
    return frame[frame["split"] == "test"].drop(columns="split").reset_index(drop=True)
