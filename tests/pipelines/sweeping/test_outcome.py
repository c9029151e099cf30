"""What a sweep says of its figures: ranks by validation alone, differences beside noise, answers drawn from them."""

import re

import pytest

from components.tracking.reading import RecordedRun
from pipelines.sweeping.answers import answers
from pipelines.sweeping.config import QuestionConfig
from pipelines.sweeping.outcome import RowResult, SweepResult, rank, row_result, verdict_of
from pipelines.sweeping.pages import figures_of, html, markdown
from pipelines.sweeping.rows import Row
from pipelines.sweeping.table import columns, lines

METRIC, TEST = "validation/accuracy", "test/accuracy"
CLEAR = {"low": [0.70, 0.71, 0.72], "high": [0.95, 0.96, 0.955], "alike": [0.94, 0.965, 0.95]}
"""Validation figures by row; test figures are the other way round."""


def result(name: str, validation: list[float], minutes: float = 1.0, metric: str = METRIC) -> RowResult:
    runs = [
        RecordedRun(
            f"{number:032}",
            name,
            "FINISHED",
            {},
            {metric: value, TEST: 1 - value, "cost/training_minutes": minutes, "model/trained_parameters": 1000.0},
            {},
        )
        for number, value in enumerate(validation)
    ]
    return row_result(Row(name, "spam-demo", {"train.epochs": len(name)}), runs, metric, TEST)


def sweep(rows: list[RowResult], questions: list[QuestionConfig] | None = None) -> SweepResult:
    rank(rows, METRIC)
    return SweepResult(
        name="mine",
        preset="spam-demo",
        run_id="0" * 32,
        metric=METRIC,
        test_metric=TEST,
        seeds=3,
        rows=rows,
        verdict=verdict_of(rows, METRIC),
        answers=answers(questions or [], rows, METRIC, TEST),
    )


def clear() -> list[RowResult]:
    return [result(name, values) for name, values in CLEAR.items()]


def test_rows_are_ranked_by_validation_whatever_the_test_says() -> None:
    found = sweep(clear())
    assert [row.name for row in found.ranked()] == ["high", "alike", "low"]
    assert [row.test.mean for row in found.ranked() if row.test] == sorted(
        row.test.mean for row in found.rows if row.test
    )


def test_of_a_loss_less_is_better() -> None:
    rows = [result("a", [0.3, 0.31], metric="validation/loss"), result("b", [0.2, 0.21], metric="validation/loss")]
    rank(rows, "validation/loss")
    assert [row.rank for row in rows] == [2, 1]


def test_what_is_more_than_noise_is_marked_and_what_is_not_is_not() -> None:
    low, high, alike = sweep(clear()).rows
    assert low.against_first is None
    assert high.against_first is not None
    assert high.against_first.significant
    assert high.against_first.difference == pytest.approx(0.245)
    assert (low.like_best, high.like_best, alike.like_best) == (False, True, True)


def test_one_seed_proves_nothing() -> None:
    found = sweep([result("a", [0.9]), result("b", [0.5])])
    assert all(row.against_first is None and row.like_best is None for row in found.rows)
    assert "--seeds 3" in found.verdict


def test_intervals_stay_within_what_the_metric_can_be() -> None:
    validation = result("a", [0.99, 0.5]).validation
    assert validation is not None
    assert (validation.low, validation.high) == (0.0, 1.0)


def test_the_verdict_names_the_best_and_what_is_not_told_from_it() -> None:
    verdict = sweep(clear()).verdict
    assert "has high: 95.5 %" in verdict
    assert verdict.endswith("these seeds: alike.")


def test_an_answer_is_drawn_from_the_figures() -> None:
    question = QuestionConfig(ask="Which?", rows=["low", "high", "alike"], remark="So it is.")
    rows = [result("low", CLEAR["low"]), result("high", CLEAR["high"], 9.0), result("alike", CLEAR["alike"], 2.0)]
    (found,) = sweep(rows, [question]).answers
    assert found.answer.startswith("The best accuracy on validation has high: 95.5 % (")
    assert re.search(r"better than low, 71\.0 % .*: by 24\.5 points \(p [\d.e-]+\)", found.answer)
    assert "Not told from it: alike, 95.2 %" in found.answer
    assert "Of these alike trains the soonest: 2.0 minutes" in found.answer
    assert found.answer.endswith("So it is.")


def test_an_answer_says_which_rows_have_no_figures() -> None:
    question = QuestionConfig(ask="Which?", rows=["low", "gone"])
    gone = RowResult(name="gone", preset="spam-demo", values={}, skipped="no weights")
    (found,) = sweep([result("low", CLEAR["low"]), gone], [question]).answers
    assert "less than two" in found.answer
    assert "No figures of: gone" in found.answer


def test_the_table_shows_what_was_skipped_and_why_and_what_is_published() -> None:
    skipped = RowResult(name="1558M", preset="spam-demo", values={}, skipped="no weights", published=98.33)
    found = sweep([*clear(), skipped])
    table = list(lines(found))
    assert all(len(line) == len(columns(found)) for line in table)
    assert [line[1] for line in table] == ["high", "alike", "low", "1558M"]
    assert "skipped" in table[3]
    assert "98.33 %" in table[3]
    assert "Skipped: 1558M: no weights" in found.sentences()


def test_the_page_is_whole_in_itself_and_escapes_names() -> None:
    rows = [*clear(), result("<script>alert(1)</script>", [0.5, 0.6])]
    found = sweep(rows)
    figures = figures_of(found)
    assert set(figures) == {"score_by_time", "score_by_train.epochs"}
    page = html(found, figures)
    assert "<script" not in page
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)
    assert page.count("data:image/png;base64,") == 2
    assert found.verdict.replace("<", "&lt;").replace(">", "&gt;") in page


def test_the_markdown_is_a_table_and_a_heading_a_question() -> None:
    question = QuestionConfig(ask="Which?", rows=["low", "high"])
    text = markdown(sweep(clear(), [question]))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1
    assert len(rows) == 5
    assert "\n## Which?\n\nThe best accuracy" in text
