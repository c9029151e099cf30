"""What an instruction run shows of itself, made from the files of its steps."""

import re
from pathlib import Path

import pandas as pd
import pytest

from components.core.store import describe
from components.reporting.evidence import counted_of_instructions
from components.reporting.instruction import (
    evidence,
    findings,
    limits,
    response_figures,
    response_rows,
    sample_groups,
)
from components.reporting.pages import DESCRIPTION_LIMIT, About, Findings, model_card, short_card
from tests.reporting.classifications import changed
from tests.reporting.instructions import LLAMA, SPLITS, Steps, samples
from tests.reporting.reports import Page, cells, stands_alone

ABOUT = About(
    "instruct",
    "a" * 32,
    {
        "name": "instruct",
        "source.licence": "CC BY-NC 4.0",
        "model.weights": "random",
        "prompt.template": "alpaca",
        "tracking.model_name": "instruct",
    },
    {},
    version="models:/instruct/3",
    store="sqlite:////home/mlflow.db",
)


@pytest.fixture(scope="session")
def found(instructed: Steps) -> Findings:
    return findings(ABOUT, instructed)


@pytest.fixture(scope="session")
def html(found: Findings) -> str:
    return found.pages["report.html"]


@pytest.fixture(scope="session")
def lexical_found(lexical: Steps) -> Findings:
    return findings(ABOUT, lexical)


def score_interval(instructed: Steps) -> str:
    metrics = instructed["evaluate"].facts["metrics"]
    return f"{metrics['test/score_low']:.1f} to {metrics['test/score_high']:.1f}"


@pytest.mark.ci
def test_the_table_of_responses_begins_with_the_worst_and_drops_none(found: Findings) -> None:
    responses = found.tables["responses_test.json"]
    assert len(responses) == SPLITS["test"]
    scores = responses["score"].dropna()
    assert scores.is_monotonic_increasing
    assert scores.iloc[0] == 10
    assert responses["score"].isna().tolist() == [False] * 23 + [True], "what could not be read is kept, at the end"
    shown = ["score", "task", "instruction", "input", "response", "reference", "reason"]
    assert [*responses][:7] == shown, "the page has room for so many columns"
    assert {"row", "status", "exact_match", "token_f1", "chrf", "start_response", "start_score"} <= {*responses}
    assert found.tables["samples.json"]["response"].iloc[-1] == "said at step 50"


@pytest.mark.ci
def test_the_report_stands_alone(html: str, lexical_found: Findings) -> None:
    stands_alone(html, images=4)
    stands_alone(lexical_found.pages["report.html"], images=3)


@pytest.mark.ci
def test_texts_of_others_in_the_report_are_escaped(html: str) -> None:
    assert "<script" not in html
    assert "<img src=http" not in html
    assert "&lt;script&gt;alert(&#39;reason" in html
    assert "instruction-&lt;data&gt;.json" in html


def test_the_report_has_figures_judge_responses_and_recipe(html: str, instructed: Steps, found: Findings) -> None:
    text = Page(html).text
    facts = instructed["evaluate"].facts
    for figure in response_figures(facts):
        assert figure.title in text
        assert figure.interval in text
        assert {figure.shown(value) for value in (figure.model, *figure.beside.values())} <= set(text.split("\n"))
    judge = "those of a language model as the judge, llama3 (Ollama, 365c0bd3c000) with the digest sha256:"
    for sentence in (facts["verdict"], judge, *limits(instructed)):
        assert sentence in text
    for task in facts["tasks"]:
        assert task["task"] in text
    assert LLAMA["digest"] in text
    assert "rubric version 1" in text
    assert "said at step 0" in text
    assert "said at step 50" in text
    assert "It replied: eighty" in text
    assert "992.27 before training" in text
    assert instructed["split"].files["test.parquet"].sha256[:16] in text
    assert 'gradus respond models:/instruct/3 "an instruction" --input "its input"' in text
    assert "CC BY-NC 4.0" in text
    assert ABOUT.run_id in text


@pytest.mark.ci
def test_the_control_of_the_judge_is_told(instructed: Steps, lexical: Steps) -> None:
    control = {"rows": 20, "own": 99.0, "other": 12.34, "tells": True}
    for manifests in (instructed, lexical):
        told = "As a control, on 20 rows another row's reference scores 12.3 on average, and the row's own 99.0."
        controlled = changed(manifests, "judge", control=control)
        assert told in short_card(ABOUT, controlled, evidence(controlled))
        without = changed(manifests, "judge", control={"rows": 0})
        assert "As a control" not in short_card(ABOUT, without, evidence(without))


@pytest.mark.ci
def test_a_lexical_measure_is_nowhere_called_a_judge(lexical: Steps, lexical_found: Findings) -> None:
    page = Page(lexical_found.pages["report.html"]).text
    card = lexical_found.pages["model_card.md"]
    for text in (page, card):
        assert "No language model judged" in text
        assert "rubric" not in text
        assert not re.search(r"judge’s|judge's|LLM|as the judge", text)
    titles = [figure.title for figure in response_figures(lexical["evaluate"].facts)]
    assert titles == ["chrF, mean", "chrF, median", "exact match", "token F1"]
    assert "starting model" not in card.split("## Limits")[1].lower()
    assert "tasks" not in lexical_found.figures


def test_figures_that_are_not_there_are_left_out(instructed: Steps) -> None:
    metrics = {name: value for name, value in instructed["evaluate"].facts["metrics"].items() if "score" not in name}
    unread = changed(instructed, "evaluate", metrics=metrics)
    assert "score, mean" not in {row["metric"] for row in response_rows(unread["evaluate"].facts)}
    assert "score, mean" not in model_card(ABOUT, unread, evidence(unread))
    assert response_rows(instructed["evaluate"].facts)[0] == {
        "metric": "score, mean",
        "model": "65.8",
        "95 % interval": score_interval(instructed),
        "starting model": "4.5",
        "baseline": "–",
        "references": "100.0",
    }


def test_a_training_that_was_not_evaluated_has_no_perplexity_and_no_curves(instructed: Steps, tmp_path: Path) -> None:
    unknown = changed(
        instructed, "fine_tune", validation_loss=None, validation_perplexity=None, initial_validation_loss=None
    )
    pd.DataFrame().to_parquet(tmp_path / "history.parquet")
    empty = {"folder": tmp_path, "files": describe(tmp_path)}
    unknown["fine_tune"] = unknown["fine_tune"].model_copy(update=empty)
    found = findings(ABOUT, unknown)
    assert "curves" not in found.figures
    assert "samples.json" not in found.tables
    assert "| validation perplexity | **–** | – | – |" in found.pages["model_card.md"]
    assert "validation/perplexity" not in counted_of_instructions(unknown)
    stands_alone(found.pages["report.html"], images=3)


@pytest.mark.ci
def test_limits_follow_the_evidence(instructed: Steps, lexical: Steps) -> None:
    def says(words: str, seen: Steps) -> bool:
        return any(words in sentence for sentence in limits(seen))

    assert says("1 of 24 test entries also stand in train", instructed)
    assert says("1 of 24 verdicts on the model's responses could not be read", instructed)
    assert says("1 of 24 responses had not ended", instructed)
    assert says("2 of 40 training entries are longer than 64 tokens", instructed)
    assert says("a right answer in other words scores low", lexical)
    assert not says("a right answer in other words scores low", instructed)
    assert not says("knows its training entries", instructed)
    none = {"exact": 0, "folded": 0}
    clean = changed(instructed, "split", overlap={"validation": none, "test": none})
    clean = changed(clean, "respond", stopped={"end": 24}, empty=0)
    clean = changed(clean, "fine_tune", truncated_rows={"train": 0})
    assert not says("stand in train", clean)
    assert not says("had not ended", clean)
    assert not says("are longer than", clean)
    assert says("5 of 24 responses are empty", changed(instructed, "respond", empty=5))
    metrics = instructed["evaluate"].facts["metrics"]
    assert not says("is within the interval", instructed)
    weak = metrics | {"start/test/score": metrics["test/score"]}
    assert says("is within the interval", changed(instructed, "evaluate", metrics=weak))
    strong = metrics | {"baseline/test/exact_match": 0.0}
    assert says(
        "Each task's most common training response is right about as often as the model, word for word: 33.3 %",
        instructed,
    )
    assert not says("most common training response", changed(instructed, "evaluate", metrics=strong))


def test_the_model_card_tells_data_figures_limits_and_use(found: Findings, instructed: Steps) -> None:
    card = found.pages["model_card.md"]
    headings = re.findall(r"^#+ (.*)$", card, re.MULTILINE)
    assert headings[1:] == ["What it is", "Figures on the test split", "Limits", "Data", "Recipe", "How to use it"]
    assert f"| score, mean | **65.8** | {score_interval(instructed)} | 4.5 | – | 100.0 |" in card
    assert "licence: CC BY-NC 4.0" in card
    assert instructed["split"].files["train.parquet"].sha256 in card
    assert "`prompt.template` | `alpaca`" in card
    assert 'gradus respond models:/instruct/3 "an instruction"' in card
    assert 'mlflow.set_tracking_uri("sqlite:////home/mlflow.db")' in card
    assert cells(card)
    assert all(len(borders) == 1 for borders in cells(card))


def test_samples_are_spread_from_the_first_evaluation_to_the_last() -> None:
    (group,) = sample_groups(samples(101))
    assert [each["step"] for each in group["responses"]] == [0, 70, 145, 215, 285, 355, 430, 500]
    (few,) = sample_groups(samples(3))
    assert [each["step"] for each in few["responses"]] == [0, 5, 10]
    assert sample_groups(samples(0)) == []


def test_what_was_counted_is_finite(instructed: Steps, lexical: Steps) -> None:
    for each in (instructed, lexical):
        values = pd.Series(counted_of_instructions(each))
        assert values.between(0, 1e9).all()


def test_the_short_card_fits_where_it_is_shown(instructed: Steps) -> None:
    card = short_card(ABOUT, instructed, evidence(instructed))
    assert instructed["evaluate"].facts["verdict"] in card
    assert all(f"- {sentence}" in card for sentence in limits(instructed))
    long = changed(instructed, "evaluate", verdict="long " * 2000)
    assert len(short_card(ABOUT, long, evidence(long))) == DESCRIPTION_LIMIT
