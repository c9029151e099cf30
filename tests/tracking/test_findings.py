"""What a run leaves to be looked at: report, model card, figures and tables, made from the steps' own files."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from components.core.records import Manifest
from components.core.store import Store
from components.data.rules import ValidationConfig
from components.data.split_config import BalanceConfig, SplitConfig
from components.data.splitting import split
from components.data.validation import validate
from components.evaluation.classification import evaluate
from components.tracking.card import model_card, short_card
from components.tracking.classification import log_classification, publish_classifier
from components.tracking.config import TrackingConfig
from components.tracking.evidence import key_figures, limits, metrics_rows
from components.tracking.figures import draw
from components.tracking.lineage import Ancestor
from components.tracking.markdown import DESCRIPTION_LIMIT
from components.tracking.report import About, render
from components.tracking.runs import open_run
from tests.tracking.reports import Page, cells, stands_alone

HOSTILE = "<script>alert('{}')</script> <img src=http://evil.example/x.png> | **bold**"
PARAMS = {
    "name": "spam|demo",
    "source": {"url": "https://data.example/<b>.zip", "licence": "CC BY 4.0"},
    "model": {"weights": "random"},
    "train": {"epochs": 2},
    "tracking": {"model_name": "findings"},
}
QUIET = TrackingConfig(system_metrics=False, experiment="findings")
Steps = dict[str, Manifest]


@pytest.fixture(scope="session")
def steps(saved_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Steps:
    """The manifests of a run on 240 messages that hold HTML; only training is made up."""
    folder = tmp_path_factory.mktemp("steps")
    store = Store(folder)
    frame = pd.DataFrame({"row": range(1, 241), "label": ["ham", "spam", "ham", "ham"] * 60})
    frame["text"] = [HOSTILE.format(f"word{chr(97 + row % 26)}{chr(97 + row // 26)}") for row in frame["row"]]
    frame.to_parquet(folder / "table.parquet", index=False)
    rules = ValidationConfig(labels=["ham", "spam"])

    def download(out: Path) -> dict[str, object]:
        frame.to_parquet(out / "table.parquet", index=False)
        return {"url": PARAMS["source"]["url"], "member": None, "sha256": "ab" * 32, "bytes": 1, "rows": 240}

    def train(out: Path) -> dict[str, object]:
        history = {"step": [0, 10], "epoch": [0.0, 1.0], "examples_seen": [0, 80]}
        history |= {f"{name}_{what}": [0.7, 0.6] for name in ("train", "validation") for what in ("loss", "accuracy")}
        pd.DataFrame(history).to_parquet(out / "history.parquet", index=False)
        pd.DataFrame({"step": [1], "loss": [0.7], "gradient_norm": [1.0]}).to_parquet(out / "steps.parquet")
        shutil.copytree(saved_model, out / "model")
        return {
            "labels": ["ham", "spam"],
            "steps": 10,
            "kept_step": 10,
            "longest_train_tokens": 32,
            "batch_size": 8,
            "parameters": 5000,
            "trained_parameters": 34,
            "device": "cpu",
            "precision": "fp32",
        }

    made = {"download": store.produce("download", "k", download)}
    made["validate"] = store.produce("validate", "k", lambda out: validate(folder / "table.parquet", rules, out))
    table = made["validate"].path("table.parquet")
    made["split"] = store.produce(
        "split",
        "k",
        lambda out: split(table, SplitConfig(group_near_duplicates=False), BalanceConfig(), ["ham", "spam"], out),
    )
    made["fine_tune"] = store.produce("fine_tune", "k", train)
    tables = {name: made["split"].path(f"{name}.parquet") for name in ("train", "validation", "test")}

    def score(out: Path) -> dict[str, object]:
        facts = evaluate(tables, saved_model, [0.7, 0.3], "cpu", out)
        draw(made["fine_tune"].path("history.parquet"), 10, facts, out / "figures")
        return facts

    made["evaluate"] = store.produce("evaluate", "k", score)
    return made


@pytest.fixture(scope="session")
def logged(steps: Steps, home: Path) -> tuple[str, Path]:
    """The id of a run that the steps were logged to, and the folder of its artifacts."""
    with open_run(QUIET, home, "spam|demo", PARAMS) as run:
        log_classification(run, steps)
        uri = run.client.get_run(run.run_id).info.artifact_uri
    return run.run_id, Path(uri.removeprefix("file://"))


@pytest.fixture(scope="session")
def html(logged: tuple[str, Path]) -> str:
    return (logged[1] / "report.html").read_text()


def test_the_report_stands_alone(html: str) -> None:
    stands_alone(html, images=5)


def test_texts_in_the_report_are_escaped(html: str) -> None:
    assert "<script" not in html
    assert "<img src=http" not in html
    assert "&lt;script&gt;alert(&#39;word" in html
    assert "https://data.example/&lt;b&gt;.zip" in html


def test_the_report_has_the_figures_the_data_and_the_recipe(html: str, steps: Steps, logged: tuple[str, Path]) -> None:
    text = Page(html).text
    facts = steps["evaluate"].facts
    for figure in key_figures(facts["metrics"]):
        assert f"{figure.model:.4f}" in text
        assert figure.interval in text
    assert facts["verdict"] in text
    for sentence in limits(steps):
        assert sentence in text
    assert "ab" * 32 in text
    assert steps["split"].files["test.parquet"].sha256[:16] in text
    assert "CC BY 4.0" in text
    assert "34 of them trained" in text
    assert "accepted" in text
    assert logged[0] in text


def test_everything_is_among_the_runs_artifacts(logged: tuple[str, Path], steps: Steps) -> None:
    found = {path.relative_to(logged[1]).as_posix() for path in logged[1].rglob("*") if path.is_file()}
    plots = ["curves", "thresholds", "calibration", "lengths", *(f"confusion_{name}" for name in ("train", "test"))]
    assert found >= {
        "report.html",
        "model_card.md",
        "errors_test.json",
        "predictions_test.json",
        "predictions.parquet",
        "metrics.json",
        *(f"plots/{name}.png" for name in plots),
    }
    table = json.loads((logged[1] / "errors_test.json").read_text())
    errors = pd.DataFrame(table["data"], columns=table["columns"])
    wrong = sum(map(sum, steps["evaluate"].facts["confusion"]["test"])) * (
        1 - steps["evaluate"].facts["metrics"]["test/accuracy"]
    )
    assert len(errors) == round(wrong) > 0
    assert (errors["label"] != errors["predicted"]).all()
    assert errors["probability"].is_monotonic_decreasing


def test_the_model_card_tells_data_figures_limits_and_use(logged: tuple[str, Path], steps: Steps) -> None:
    card = (logged[1] / "model_card.md").read_text()
    headings = re.findall(r"^#+ (.*)$", card, re.MULTILINE)
    assert headings[1:] == ["What it is", "Figures on the test split", "Limits", "Data", "Recipe", "How to use it"]
    metrics = steps["evaluate"].facts["metrics"]
    assert f"| accuracy | **{metrics['test/accuracy']:.4f}** | {metrics['test/accuracy_low']:.4f} to" in card
    assert "licence: CC BY 4.0" in card
    assert steps["split"].files["train.parquet"].sha256 in card
    assert 'gradus predict models:/findings@candidate "a text"' in card
    assert all(len(borders) == 1 for borders in cells(card))


def test_a_registered_version_carries_the_short_card(steps: Steps, home: Path) -> None:
    with open_run(QUIET, home, "spam", PARAMS) as run:
        publish_classifier(run, steps, "findings")
        version = run.client.get_model_version_by_alias("findings", "candidate")
    assert steps["evaluate"].facts["verdict"] in version.description
    for sentence in limits(steps):
        assert f"- {sentence}" in version.description
    assert len(version.description) <= DESCRIPTION_LIMIT


def changed(steps: Steps, name: str, **facts: object) -> Steps:
    manifest = steps[name]
    return {**steps, name: manifest.model_copy(update={"facts": manifest.facts | facts})}


def test_limits_follow_the_evidence(steps: Steps) -> None:
    assert any("test set is small" in sentence for sentence in limits(steps))
    overlap = {name: {"exact": 1, "folded": 7} for name in ("validation", "test")}
    assert any(sentence.startswith("7 of ") for sentence in limits(changed(steps, "split", overlap=overlap)))
    assert not any("stand in train" in sentence for sentence in limits(steps))
    facts = steps["evaluate"].facts
    sure = {"test/calibration_error": 0.01, "test/accuracy_low": 0.89, "test/accuracy_high": 0.91}
    metrics = facts["metrics"] | sure | {"test/accuracy": 0.9, "train/accuracy": 0.99}
    better = limits(changed(steps, "evaluate", metrics=metrics))
    assert not any("small" in sentence or "off by" in sentence for sentence in better)
    assert any("9.0 points better on the texts that it was trained on" in sentence for sentence in better)
    whole = {name: lengths | {"cut_share": 0.0} for name, lengths in facts["lengths"].items()}
    assert any("read in part" in sentence for sentence in limits(steps))
    assert not any("read in part" in sentence for sentence in limits(changed(steps, "evaluate", lengths=whole)))


def test_figures_that_are_not_defined_are_left_out(steps: Steps) -> None:
    metrics = {name: value for name, value in steps["evaluate"].facts["metrics"].items() if "roc_auc" not in name}
    without = changed(steps, "evaluate", metrics=metrics)
    assert "ROC AUC" not in {figure.title for figure in key_figures(metrics)}
    assert all("ROC AUC" not in row["metric"] for row in metrics_rows(without["evaluate"].facts))
    about = About("x", "0" * 32, {}, {})
    assert "| ROC AUC |" not in model_card(about, without)
    assert len(short_card(about, changed(steps, "evaluate", verdict="long " * 5000))) == DESCRIPTION_LIMIT


def test_what_a_model_goes_on_from_is_in_report_and_cards(steps: Steps) -> None:
    parent = Ancestor("models:/spam/3", "f" * 32, "nightly", "random")
    about = About("x", "0" * 32, {}, {}, [parent])
    sentence = f"Continues model models:/spam/3 of run nightly {'f' * 32}, which started from random."
    errors = pd.DataFrame(columns=["label", "predicted", "probability", "svm", "tfidf", "row", "text"])
    for text in (render(about, steps, {}, errors), model_card(about, steps), short_card(about, steps)):
        assert sentence in text
