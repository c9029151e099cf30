"""What is left of a sweep to be looked at: a page that opens offline, plots, and a text in Markdown."""

import tempfile
from pathlib import Path
from typing import Any

from components.reporting.pages import render
from components.reporting.sweep_plots import Point, sweep_figures
from components.tracking.names import NOTE_TAG
from components.tracking.run import Run
from pipelines.sweeping.figures import title_of
from pipelines.sweeping.outcome import SweepResult
from pipelines.sweeping.table import columns, lines


def figures_of(found: SweepResult) -> dict[str, bytes]:
    """Return the plots of a sweep, PNG files by their names."""
    points = [
        Point(row.rank, row.name, row.values, figure.mean, figure.low, figure.high, row.minutes)
        for row in found.ranked()
        if (figure := row.validation) and row.rank
    ]
    return sweep_figures(points, title_of(found.metric))


def html(found: SweepResult, figures: dict[str, bytes]) -> str:
    """Return the page: no script, nothing fetched from anywhere."""
    return render("sweep.html", {}, figures=figures, run_id=found.run_id, **_values(found))


def markdown(found: SweepResult) -> str:
    """Return the table and the answers in Markdown."""
    return render("sweep.jinja", {}, **_values(found))


def _values(found: SweepResult) -> dict[str, Any]:
    return {
        "title": f"Sweep: {found.name}",
        "verdict": found.verdict,
        "columns": columns(found),
        "lines": list(lines(found)),
        "notes": found.notes(),
        "answers": found.answers,
    }


def log(run: Run, found: SweepResult) -> None:
    """Leave all of it on the parent run.

    Raises:
        TrackingError: if the store cannot be written.
    """
    import pandas as pd

    figures = figures_of(found)
    run.log_table(pd.DataFrame(list(lines(found)), columns=columns(found)), "table.json")
    run.log_dict(found.model_dump(mode="json"), "sweep.json")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "sweep.html").write_text(html(found, figures), encoding="utf-8")
        (folder / "sweep.md").write_text(markdown(found), encoding="utf-8")
        (folder / "plots").mkdir()
        for title, content in figures.items():
            (folder / "plots" / f"{title}.png").write_bytes(content)
        run.log_file(folder)
    run.set_tags({"gradus.verdict": found.verdict, NOTE_TAG: "\n\n".join(found.sentences())})
