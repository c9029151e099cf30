"""Figures of an instruction run: what they show, and that no data makes them fail or warn."""

import warnings
from io import BytesIO
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from components.reporting.instruction_plots import lengths_figure, loss_figure, scores_figure, tasks_figure
from tests.reporting.instructions import history


def drawn(figure: Figure) -> bytes:
    buffer = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(buffer, format="png", dpi=40)
    return buffer.getvalue()


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def histogram(unread: int = 0) -> pd.DataFrame:
    low = [*np.arange(0.0, 100.0, 10.0), np.nan]
    part = pd.DataFrame({"low": low, "high": np.array(low) + 10})
    rows = {"model": [0] * 9 + [12, unread], "start": [12] + [0] * 10, "reference": [0] * 9 + [12, 0]}
    return pd.concat([part.assign(of=of, rows=count) for of, count in rows.items()], ignore_index=True)


def tasks(count: int) -> pd.DataFrame:
    frame = pd.DataFrame({"task": [f"task $ {place}" for place in range(count)], "rows": range(count, 0, -1)})
    frame["exact_match_before"], frame["exact_match"], frame["baseline_exact_match"] = 0.0, 0.5, 0.25
    return frame.assign(score_before=5.0, score=60.0)


@pytest.mark.ci
def test_loss_is_drawn_against_epochs_with_tokens_seen_on_top() -> None:
    figure = loss_figure(history(11), 50, "$a run")
    drawn(figure)
    loss, perplexity = figure.axes
    assert np.allclose(loss.lines[0].get_xdata(), history(11)["epoch"])
    assert np.allclose(loss.lines[1].get_ydata(), history(11)["validation_loss"])
    assert np.allclose(perplexity.lines[1].get_ydata(), np.exp(history(11)["validation_loss"]))
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["train", "validation", "kept: step 50"]
    for axes in (loss, perplexity):
        top = axes.child_axes[0]
        assert (axes.get_xlabel(), top.get_xlabel()) == ("epochs", "tokens seen")
        # Steps are of different lengths: the top axis has each evaluation where it was, not on the average.
        to_seen = top._functions[0]
        assert np.allclose(to_seen(history(11)["epoch"]), history(11)["tokens_seen"])


@pytest.mark.slow
@pytest.mark.parametrize("column", [None, "validation_loss", "train_loss"])
@pytest.mark.parametrize("rows", [1, 2, 100])
def test_few_evaluations_and_missing_values_are_drawn_without_a_warning(rows: int, column: str | None) -> None:
    frame = history(rows)
    if column:
        frame[column] = np.nan
    assert drawn(loss_figure(frame, 0)).startswith(b"\x89PNG")


@pytest.mark.ci
def test_no_value_lies_outside_its_panel() -> None:
    for frame in (history(1), history(20), history(20).assign(train_loss=0.0), history(2).assign(train_loss=10.9)):
        for axes in loss_figure(frame, 5).axes:
            low, high = axes.get_ylim()
            curves = [line for line in axes.lines if not str(line.get_label()).startswith("kept")]
            assert all(low <= value <= high for line in curves for value in line.get_ydata())


@pytest.mark.ci
def test_scores_of_all_three_stand_side_by_side_with_the_unread_apart() -> None:
    metrics = {"test/score": 95.0, "test/score_low": 90.0, "test/score_high": 99.0, "start/test/score": 5.0}
    figure = scores_figure(histogram(unread=3), metrics, "score (0 to 100)", "$ a judge")
    drawn(figure)
    assert words(figure) == [
        "fine-tuned: mean 95.0 (95 % 90.0 to 99.0)",
        "starting model: mean 5.0",
        "references: no score",
    ]
    axes = figure.axes[0]
    bars = [bar for bar in axes.patches if bar.get_height()]
    assert sorted(bar.get_height() for bar in bars) == [3, 12, 12, 12]
    spans = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in axes.patches)
    assert all(end <= start + 1e-9 for (_, end), (start, _) in pairwise(spans)), "none hides another"
    unread = next(bar for bar in bars if bar.get_height() == 3)
    assert unread.get_x() > 100
    assert [label.get_text() for label in axes.get_xticklabels()][-2:] == ["100", "not\nparsed"]
    assert not axes.texts


def test_where_all_were_read_the_figure_says_so_and_a_lexical_one_has_no_such_place() -> None:
    judged, lexical = (scores_figure(histogram(), {}, "score", "x", may_lack=each) for each in (True, False))
    drawn(judged)
    drawn(lexical)
    assert [text.get_text() for text in judged.axes[0].texts] == ["none"]
    assert [label.get_text() for label in lexical.axes[0].get_xticklabels()][-1] == "100"


@pytest.mark.ci
@pytest.mark.parametrize("count", [1, 8, 60])
@pytest.mark.parametrize("missing", [[], ["exact_match_before", "score_before"], ["score"]])
def test_tasks_are_drawn_before_and_after_with_their_baseline(count: int, missing: list[str]) -> None:
    figure = tasks_figure(tasks(count).assign(**dict.fromkeys(missing, np.nan)), "score", "x")
    drawn(figure)
    exact = figure.axes[0]
    names = [label.get_text() for label in exact.get_yticklabels()]
    assert names[-1] == f"task $ 0 ({count})", "the largest is on top"
    assert len(names) == min(count, 40)
    before = [] if "score_before" in missing else ["before"]
    assert words(figure) == [*before, "after training", "baseline: the task's most common training response"]


@pytest.mark.ci
def test_lengths_of_responses_say_why_they_end() -> None:
    responses = pd.DataFrame({"new_tokens": [0, 3, 3, 256], "stopped": ["no_room", "end", "marker", "length"]})
    figure = lengths_figure(responses, "x")
    drawn(figure)
    assert words(figure) == [
        "ended: 1",
        "ended at a marker: 1",
        "cut at max_new_tokens: 1",
        "cut where the context ends: 1",
    ]
    assert sum(bar.get_height() for bar in figure.axes[0].patches) == 4
    for few in (responses.head(1), responses.head(0)):
        assert drawn(lengths_figure(few, "x")).startswith(b"\x89PNG")
