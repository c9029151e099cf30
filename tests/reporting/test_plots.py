import sys
import threading
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from components.reporting.classification_plots import confusion_figure, curves_figure
from components.reporting.plots import png


def history(rows: int) -> pd.DataFrame:
    step = np.arange(rows) * 50
    return pd.DataFrame(
        {
            "step": step,
            "epoch": step / 131,
            "examples_seen": step * 8,
            "train_loss": np.linspace(2, 0.1, rows),
            "validation_loss": np.linspace(2, 0.2, rows),
            "train_accuracy": np.linspace(0.5, 1.0, rows),
            "validation_accuracy": np.linspace(0.5, 0.97, rows),
        }
    )


def drawn(figure: Figure) -> bytes:
    buffer = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


@pytest.mark.ci
def test_curves_show_both_splits_against_epochs_with_examples_on_top() -> None:
    figure = curves_figure(history(14), 250, "spam")
    drawn(figure)
    loss, accuracy = figure.axes
    assert loss.get_xlabel() == accuracy.get_xlabel() == "epochs"
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["train", "validation", "kept: step 250"]
    assert np.allclose(loss.lines[0].get_xdata(), history(14)["epoch"])
    assert np.allclose(accuracy.lines[1].get_ydata(), history(14)["validation_accuracy"] * 100)
    for axes in (loss, accuracy):
        top = axes.child_axes[0]
        assert top.get_xlabel() == "examples seen"
        assert np.allclose(np.array(top.get_xlim()), np.array(axes.get_xlim()) * 131 * 8)


@pytest.mark.slow
@pytest.mark.parametrize("column", [None, "validation_accuracy", "train_loss"])
@pytest.mark.parametrize("rows", [1, 2, 100])
def test_few_points_and_missing_values_are_drawn_without_a_warning(rows: int, column: str | None) -> None:
    frame = history(rows)
    if column:
        frame[column] = np.nan
    assert drawn(curves_figure(frame, 0)).startswith(b"\x89PNG")


def test_no_value_lies_outside_its_panel() -> None:
    for frame in (history(1), history(14), history(14).assign(train_accuracy=0.0)):
        for axes in curves_figure(frame, kept_step=-1).axes:
            low, high = axes.get_ylim()
            assert all(low <= value <= high for line in axes.lines for value in line.get_ydata())


@pytest.mark.ci
def test_a_confusion_matrix_has_counts_and_shares_of_the_row() -> None:
    figure = confusion_figure([[1438, 12], [0, 0]], ["ham", "spam"], "test split")
    drawn(figure)
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["1,438\n99.2 %", "12\n0.8 %", "0\n0.0 %", "0\n0.0 %"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["ham", "spam"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted label", "true label")


@pytest.mark.ci
def test_figures_can_be_drawn_in_threads_and_leave_pyplot_alone(tmp_path: Path) -> None:
    threads = [
        threading.Thread(
            target=lambda path=tmp_path / f"{index}.png": path.write_bytes(drawn(curves_figure(history(9), 50)))
        )
        for index in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({path.read_bytes() for path in tmp_path.glob("*.png")}) == 1
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()


def test_characters_that_no_font_has_are_told_once_and_drawn_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    figure = confusion_figure([[1, 0], [0, 1]], ["\U0001f9ea\U000133f0", "b"], "labels in a rare script")
    assert png(figure).startswith(b"\x89PNG")
    assert [record.getMessage().count("font") > 0 for record in caplog.records] == [True]
    caplog.clear()
    assert png(confusion_figure([[1, 0], [0, 1]], ["a", "b"], "plain")).startswith(b"\x89PNG")
    assert not caplog.records
