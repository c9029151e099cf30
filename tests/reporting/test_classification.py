"""What a classification run shows of itself, made from the files of its steps."""

import re
from dataclasses import replace

import pytest

from components.reporting.classification import classifier_figures, evidence, findings, limits, metrics_rows
from components.reporting.pages import DESCRIPTION_LIMIT, About, Findings, model_card, short_card
from tests.reporting.classifications import URL, Steps, changed
from tests.reporting.reports import Page, cells, stands_alone

ABOUT = About(
    "spam|demo",
    "a" * 32,
    {
        "name": "spam|demo",
        "source.url": URL,
        "source.licence": "CC BY 4.0",
        "model.weights": "random",
        "train.epochs": "2",
        "tracking.model_name": "findings",
    },
    {},
    version="models:/findings/3",
    store="sqlite:////home/mlflow.db",
)


@pytest.fixture(scope="session")
def found(classified: Steps) -> Findings:
    return findings(ABOUT, classified)


@pytest.fixture(scope="session")
def html(found: Findings) -> str:
    return found.pages["report.html"]


@pytest.mark.ci
def test_the_report_stands_alone(html: str) -> None:
    stands_alone(html, images=6)


@pytest.mark.ci
def test_texts_in_the_report_are_escaped(html: str) -> None:
    assert "<script" not in html
    assert "<img src=http" not in html
    assert "&lt;script&gt;alert(&#39;word" in html
    assert "https://data.example/&lt;b&gt;.zip" in html


def test_the_report_has_the_figures_the_data_and_the_recipe(html: str, classified: Steps, found: Findings) -> None:
    text = Page(html).text
    facts = classified["evaluate"].facts
    for figure in classifier_figures(facts["metrics"]):
        assert f"{figure.model:.4f}" in text
        assert figure.interval in text
    assert facts["verdict"] in text
    for sentence in limits(classified):
        assert sentence in text
    assert "ab" * 32 in text
    assert classified["split"].files["test.parquet"].sha256[:16] in text
    assert "CC BY 4.0" in text
    assert "34 of them trained" in text
    assert "accepted" in text
    assert ABOUT.run_id in text


def test_the_tables_begin_with_the_surest_errors(found: Findings, classified: Steps) -> None:
    errors = found.tables["errors_test.json"]
    facts = classified["evaluate"].facts
    wrong = sum(map(sum, facts["confusion"]["test"])) * (1 - facts["metrics"]["test/accuracy"])
    assert len(errors) == round(wrong) > 0
    assert (errors["label"] != errors["predicted"]).all()
    assert errors["probability"].is_monotonic_decreasing
    assert set(found.tables["predictions_test.json"]["text"]) >= set(errors["text"])


def test_the_model_card_tells_data_figures_limits_and_use(found: Findings, classified: Steps) -> None:
    card = found.pages["model_card.md"]
    headings = re.findall(r"^#+ (.*)$", card, re.MULTILINE)
    assert headings[1:] == ["What it is", "Figures on the test split", "Limits", "Data", "Recipe", "How to use it"]
    metrics = classified["evaluate"].facts["metrics"]
    assert f"| accuracy | **{metrics['test/accuracy']:.4f}** | {metrics['test/accuracy_low']:.4f} to" in card
    assert "licence: CC BY 4.0" in card
    assert classified["split"].files["train.parquet"].sha256 in card
    assert 'gradus predict models:/findings/3 "a text"' in card
    assert 'mlflow.set_tracking_uri("sqlite:////home/mlflow.db")' in card
    assert all(len(borders) == 1 for borders in cells(card))


def test_limits_follow_the_evidence(classified: Steps) -> None:
    assert any("test set is small" in sentence for sentence in limits(classified))
    overlap = {name: {"exact": 1, "folded": 7} for name in ("validation", "test")}
    assert any(sentence.startswith("7 of ") for sentence in limits(changed(classified, "split", overlap=overlap)))
    assert not any("stand in train" in sentence for sentence in limits(classified))
    facts = classified["evaluate"].facts
    sure = {"test/calibration_error": 0.01, "test/accuracy_low": 0.89, "test/accuracy_high": 0.91}
    metrics = facts["metrics"] | sure | {"test/accuracy": 0.9, "train/accuracy": 0.99}
    better = limits(changed(classified, "evaluate", metrics=metrics))
    assert not any("small" in sentence or "off by" in sentence for sentence in better)
    assert any("9.0 points better on the texts that it was trained on" in sentence for sentence in better)
    whole = {name: lengths | {"cut_share": 0.0} for name, lengths in facts["lengths"].items()}
    assert any("read in part" in sentence for sentence in limits(classified))
    assert not any("read in part" in sentence for sentence in limits(changed(classified, "evaluate", lengths=whole)))


def test_figures_that_are_not_defined_are_left_out(classified: Steps) -> None:
    metrics = {name: value for name, value in classified["evaluate"].facts["metrics"].items() if "roc_auc" not in name}
    without = changed(classified, "evaluate", metrics=metrics)
    assert "ROC AUC" not in {figure.title for figure in classifier_figures(metrics)}
    assert all("ROC AUC" not in row["metric"] for row in metrics_rows(without["evaluate"].facts))
    assert "| ROC AUC |" not in model_card(ABOUT, without, evidence(without))
    long = changed(classified, "evaluate", verdict="long " * 5000)
    assert len(short_card(ABOUT, long, evidence(long))) == DESCRIPTION_LIMIT


@pytest.mark.ci
def test_what_a_model_goes_on_from_is_in_report_and_cards(classified: Steps) -> None:
    sentence = f"Continues model models:/spam/3 of run nightly {'f' * 32}, which started from random."
    about = replace(ABOUT, lineage=sentence)
    card = short_card(about, classified, evidence(classified))
    for text in (*findings(about, classified).pages.values(), card):
        assert sentence in text
