"""Figures of quality: what they show, and that no data makes them fail or warn."""

import warnings
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from components.reporting.classification_plots import (
    calibration_figure,
    confusion_figure,
    lengths_figure,
    roc_figure,
    thresholds_figure,
)


def drawn(figure: Figure) -> bytes:
    buffer = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(buffer, format="png", dpi=40)
    return buffer.getvalue()


def words(legend: object) -> list[str]:
    return [text.get_text() for text in legend.get_texts()]


def curves(labels: list[str]) -> pd.DataFrame:
    points = pd.DataFrame({"x": [0.0, 0.1, 1.0], "y": [0.0, 0.9, 1.0]})
    return pd.concat(
        [
            points.assign(classifier=name, label=label, curve=curve, area=0.9 + 0.01 * place)
            for place, label in enumerate(labels)
            for name in ("model", "svm", "tfidf")
            for curve in ("roc", "precision_recall")
        ]
    )


@pytest.mark.ci
def test_two_classes_have_the_model_beside_the_baselines_and_chance() -> None:
    figure = roc_figure(curves(["spam"]), {"ham": 0.75, "spam": 0.25}, "test")
    drawn(figure)
    roc, precision = figure.axes
    assert words(roc.get_legend()) == [
        "model (AUC 0.900)",
        "n-grams + SVM (AUC 0.900)",
        "TF-IDF + LR (AUC 0.900)",
        "chance",
    ]
    assert words(precision.get_legend()) == [
        "model (AP 0.900)",
        "n-grams + SVM (AP 0.900)",
        "TF-IDF + LR (AP 0.900)",
        "chance (0.250)",
    ]
    assert precision.lines[-1].get_ydata()[0] == 0.25


def test_of_many_classes_the_largest_are_drawn() -> None:
    labels = [f"$label_{place}" for place in range(12)]
    shares = {label: place / 66 for place, label in enumerate(labels)}
    figure = roc_figure(curves(labels), shares, "test")
    drawn(figure)
    shown = words(figure.axes[0].get_legend())
    assert len(shown) == 9
    assert shown[0].startswith("$label_11 (AUC")
    assert len({line.get_color() for line in figure.axes[0].lines}) == 9


def test_a_label_that_begins_with_a_bar_stands_in_the_legend() -> None:
    figure = roc_figure(curves(["_other", "b"]), {"_other": 0.5, "b": 0.5}, "test")
    assert {name.split()[0] for name in words(figure.axes[0].get_legend())} == {"_other", "b", "chance"}


def bins(classifier: str, rows: list[int], accuracy: list[float]) -> pd.DataFrame:
    low = np.arange(20 - len(rows), 20) / 20
    frame = pd.DataFrame({"low": low, "high": low + 0.05, "rows": rows, "confidence": low + 0.02})
    return frame.assign(classifier=classifier, accuracy=accuracy, split="test")


@pytest.mark.ci
@pytest.mark.parametrize("rows", [[1], [3, 4, 500], [1] * 20])
def test_calibration_has_a_point_an_interval_and_a_bar_for_each_bin(rows: list[int]) -> None:
    right = [1.0] * len(rows)
    others = [bins(name, rows, [0.0] * len(rows)) for name in ("svm", "tfidf")]
    figure = calibration_figure(
        pd.concat([bins("model", rows, right), *others]), {"model": 0.1, "svm": 0.2, "tfidf": 0.2}, 2, "test"
    )
    drawn(figure)
    share, count = figure.axes
    points = [value for line in share.lines[1:3] for value in line.get_ydata()]
    assert points == right
    assert sorted(bar.get_height() for bar in count.patches) == sorted(rows * 3)
    assert "model (calibration error 0.100)" in words(figure.legends[0])
    low, high = share.get_ylim()
    assert low < 0.0
    assert high > 1.0


@pytest.mark.parametrize("limit", [5, 40, 1024])
def test_lengths_say_what_is_cut(limit: int) -> None:
    table = pd.DataFrame({"split": ["train"] * 3 + ["test"], "tokens": [4, 6, 39, 0], "rows": [2, 1, 1, 3]})
    figure = lengths_figure(table, limit, "lengths")
    drawn(figure)
    said = words(figure.legends[0])
    assert said[0] == f"train: 4 texts, {50 if limit == 5 else 0}.0 % cut"
    assert said[1] == "test: 3 texts, 0.0 % cut"
    assert said[2] == f"cut at {limit:,} tokens" + (", far to the right" if limit == 1024 else "")


@pytest.mark.ci
def test_a_confusion_matrix_of_many_labels_stays_a_page() -> None:
    labels = [f"a rather long label {place}" for place in range(60)]
    figure = confusion_figure(np.eye(60, dtype=int).tolist(), labels, "test")
    drawn(figure)
    assert not figure.axes[0].texts
    assert max(figure.get_size_inches()) < 17


@pytest.mark.ci
def test_a_threshold_is_chosen_by_cost_and_marked_in_both_panels() -> None:
    thresholds = np.linspace(0, 1, 5)
    table = pd.DataFrame(
        {"threshold": thresholds, "precision": [0.2, 0.5, 0.8, 1.0, np.nan], "recall": thresholds[::-1]}
    )
    table = pd.concat([table.assign(split=split, cost=[0.8, 0.3, 0.1, 0.2, 0.2]) for split in ("validation", "test")])
    figure = thresholds_figure(table, {"threshold": 0.5}, 5.0, "test")
    drawn(figure)
    for axes in figure.axes:
        assert axes.lines[-1].get_xdata()[0] == 0.5
        assert words(axes.get_legend())[-1] == "cheapest on validation: 0.500"
    assert "5 false alarms" in figure.axes[1].get_ylabel()


def test_a_bin_of_one_row_stands_by_itself() -> None:
    one = bins("model", [30, 1, 40], [0.5, 0.0, 1.0])
    figure = calibration_figure(one, dict.fromkeys(("model", "svm", "tfidf"), 0.1), 2, "test")
    joined, alone = figure.axes[0].lines[1:3]
    assert joined.get_ydata().tolist() == [0.5, 1.0]
    assert (alone.get_ydata().tolist(), alone.get_linestyle()) == ([0.0], "None")


def test_texts_of_one_length_are_drawn_where_that_length_is() -> None:
    table = pd.DataFrame({"split": ["train"], "tokens": [7], "rows": [3]})
    steps = lengths_figure(table, 10, "lengths").axes[0].patches[0].get_data()
    high = steps.values.argmax()
    assert (steps.edges[high], steps.edges[high + 1]) == (6.5, 7.5)
