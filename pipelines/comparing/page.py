"""A comparison as a page, and as artifacts of the runs that were compared."""

import tempfile
from pathlib import Path

import pandas as pd

from components.core.records import fingerprint
from components.reporting.comparison import CURVES, comparison_page
from components.tracking.judgements import log_beside
from components.tracking.reading import curves_of, find_run
from pipelines.compared import Comparisons

FOLDER = "comparisons"
"""Where a run's artifacts have the comparisons that it was in."""
NAMED = 4
"""Runs that a folder's name names."""


def page_of(found: Comparisons, home: Path) -> str:
    """Return a comparison as one HTML page that opens offline, with the curves of all runs in one plot.

    Raises:
        TrackingError: if the store cannot be read.
    """
    runs = {side.run_id[:8]: find_run(side.run_id, home) for side in found.runs}
    return comparison_page(found, {name: curves_of(run, CURVES, home) for name, run in runs.items()})


def log_comparison(found: Comparisons, page: str, home: Path) -> str:
    """Log a comparison to each of the finished runs that could be compared, and return the folder of its artifacts.

    There: `comparison.html`, `comparison.json`, and `disagreements.parquet`, all rows on which two of them disagree. It
    stands on the runs' own pages, where one looks for it; a run of its own would stand among those that trained a
    model, in every list and ranking. The same comparison takes the place of the one before.

    Raises:
        TrackingError: if the store cannot be written.
    """
    folder = f"{FOLDER}/{_named(found)}"
    compared = [each for each in found.comparisons if each.compared]
    with tempfile.TemporaryDirectory(prefix="gradus-") as scratch:
        out = Path(scratch)
        (out / "comparison.html").write_text(page, encoding="utf-8")
        (out / "comparison.json").write_text(found.model_dump_json(indent=1), encoding="utf-8")
        apart = [each.details.rows.assign(run=each.second.run_id) for each in compared if each.details]
        if apart:
            pd.concat(apart).to_parquet(out / "disagreements.parquet", index=False)
        sides = {side.run_id: side for each in compared for side in (each.first, each.second)}
        for side in sides.values():
            if side.status == "FINISHED":
                log_beside(side.run_id, out, folder, {}, home)
    return folder


def _named(found: Comparisons) -> str:
    if len(found.names) <= NAMED:
        return "-".join(found.names)
    others = fingerprint(sorted(side.run_id for side in found.runs[1:]))[:8]
    return f"{found.names[0]}-and-{len(found.names) - 1}-others-{others}"
