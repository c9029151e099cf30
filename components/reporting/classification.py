"""What a classification run shows of itself."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from components.core.records import Manifest
from components.learned import LEARNED
from components.reporting.about import About
from components.reporting.classification_evidence import evidence, metrics_rows
from components.reporting.findings import Findings, gathered

if TYPE_CHECKING:
    import pandas as pd

FILES = {"evaluate": ("predictions.parquet", "metrics.json", LEARNED)}
"""Artifacts that are files of a step as they are."""
SHOWN_PREDICTIONS = 10_000
"""Rows of the table `predictions_test.json`: as many as tracking keeps of a table."""
SURE_ERRORS = 50
"""Errors in the table `errors_test.json`."""
SHOWN_ERRORS = 25
"""Those of them that the report shows."""
ERROR_COLUMNS = ["label", "predicted", "probability", "svm", "tfidf", "row", "text"]


def findings(about: About, manifests: Mapping[str, Manifest]) -> Findings:
    """Return what there is to be looked at of a run; its figures were drawn by the step `evaluate`."""
    scored = manifests["evaluate"]
    predictions = first_predictions(scored.path("predictions.parquet"), SHOWN_PREDICTIONS)
    errors = predictions.loc[~predictions["correct"], ERROR_COLUMNS].head(SURE_ERRORS)
    confusion = scored.facts["confusion"]["test"]
    return gathered(
        "classification.html",
        about,
        manifests,
        evidence(manifests),
        figures={Path(name).stem: scored.path(name).read_bytes() for name in scored.files if name.endswith(".png")},
        tables={"predictions_test.json": predictions, "errors_test.json": errors},
        rows=metrics_rows(scored.facts),
        names=FILES,
        errors=errors.head(SHOWN_ERRORS).to_dict("records"),
        error_count=sum(map(sum, confusion)) - sum(row[place] for place, row in enumerate(confusion)),
    )


def first_predictions(path: Path, most: int) -> "pd.DataFrame":
    """Return the first rows of the test split, which stand first in the file: its errors, then what is right."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    batch = next(file.iter_batches(most), None)
    frame: pd.DataFrame = file.schema_arrow.empty_table().to_pandas() if batch is None else batch.to_pandas()
    return frame[frame["split"] == "test"].drop(columns="split").reset_index(drop=True)
