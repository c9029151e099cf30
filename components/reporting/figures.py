"""The figures of a classification run, drawn once, beside what they are drawn from."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from components.core.records import Facts
from components.reporting import plots, plots_quality

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESOLUTION = 120
"""Dots an inch of the figures."""


def draw(history: Path, kept_step: int, scores: Facts, folder: Path) -> None:
    """Draw the figures of a classifier as `<name>.png` into `folder`.

    Args:
        history: the table that fine-tuning has written at its evaluations.
        kept_step: the training step whose weights were kept.
        scores: what the evaluation has found.
        folder: where it has put `curves.parquet`, `calibration.parquet` and `lengths.parquet`.
    """
    for name, figure in _figures(history, kept_step, scores, folder):
        (folder / f"{name}.png").write_bytes(png(figure))


def _figures(history: Path, kept_step: int, scores: Facts, folder: Path) -> "Iterator[tuple[str, Figure]]":
    """Yield the figures with the names of their files, one at a time, so that one is in memory."""
    import pandas as pd

    yield "curves", plots.curves_figure(pd.read_parquet(history), f"kept step {kept_step}")
    for split, matrix in scores["confusion"].items():
        yield f"confusion_{split}", plots.confusion_figure(matrix, scores["labels"], f"{split} split")
    rows = {each["label"]: each["rows"] for each in scores["per_class"]["test"]}
    shares = {label: count / sum(rows.values()) for label, count in rows.items()}
    curves = pd.read_parquet(folder / "curves.parquet")
    title = f"test split, {scores['labels'][1]!r} told from the rest" if len(rows) == 2 else "test split, each label"
    if len(curves):
        yield "thresholds", plots_quality.thresholds_figure(curves, shares, title)
    bins = pd.read_parquet(folder / "calibration.parquet")
    errors = {
        name: scores["metrics"][f"{prefix}test/calibration_error"]
        for name, prefix in (("model", ""), ("svm", "svm/"), ("tfidf", "tfidf/"))
    }
    test = bins[bins["split"] == "test"]
    yield "calibration", plots_quality.calibration_figure(test, errors, len(rows), "calibration on the test split")
    lengths = pd.read_parquet(folder / "lengths.parquet")
    yield "lengths", plots_quality.lengths_figure(lengths, scores["max_length"], "lengths of the texts")


def png(figure: "Figure") -> bytes:
    """Return a figure as a PNG file."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=RESOLUTION)
    return buffer.getvalue()
