"""Who is promoted, on a real MLflow store: what seemed good enough before, and what is measured on which rows."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from components.core.errors import ConfigError, PromotionRefused
from components.models.saved.classifier import load_classifier
from components.tracking.config import TrackingConfig
from components.tracking.registry.lineage import log_lineage
from components.tracking.registry.packages import classifier_package
from components.tracking.registry.publishing import log_package
from components.tracking.runs import open_run
from pipelines.promoting.promote import promote
from tests.pipelines.commands import compare_runs
from tests.pipelines.labelled_runs import aliases

QUIET = TrackingConfig(experiment="promoted", system_metrics=False)
LABELS = np.array(["ham", "spam"])
LETTERS = ["".join(letters) for letters in itertools.product("bcdfghjklm", repeat=4)]

Make = Callable[..., str]


@pytest.fixture(scope="module")
def told(saved_model: Path) -> pd.DataFrame:
    """Texts, and the labels that the model gives which all runs here have: it is right on every one of them."""
    texts = [f"text {letters}" for letters in LETTERS]
    return pd.DataFrame({"text": texts, "label": load_classifier(saved_model).predict(texts)["label"]})


@pytest.fixture
def make(home: Path, saved_model: Path, name: str, told: pd.DataFrame, tmp_path: Path) -> Make:
    """A function that makes a finished run which was tested on some rows, and errs on some of those."""

    def made(
        wrong: range | int, rows: int = 3000, first: int = 0, train: range = range(9990, 9999), **params: str
    ) -> str:
        errs = range(wrong) if isinstance(wrong, int) else wrong
        test = told.iloc[first : first + rows].assign(split="test")
        flipped = np.isin(np.arange(len(test)), errs)
        spam = ((test["label"] == "spam").to_numpy() != flipped) * 0.8 + 0.1
        learned = told.iloc[list(train)].assign(split="train", p_ham=0.5, p_spam=0.5)
        frame = pd.concat([test.assign(p_ham=1 - spam, p_spam=spam), learned])
        frame[["split", "label", "text", "p_ham", "p_spam"]].to_parquet(tmp_path / "predictions.parquet", index=False)
        with open_run(QUIET, home, "made", params) as run:
            log_lineage(run, params.get("model.weights", "random"), home)
            run.metrics({"test/accuracy": 1 - flipped.mean()}, 1)
            run.log_file(tmp_path / "predictions.parquet")
            log_package(run, classifier_package(saved_model, ["a"]), name)
        return run.run_id

    return made


@pytest.mark.ci
def test_five_rows_prove_nothing(home: Path, make: Make, name: str) -> None:
    why = r"5 rows can be compared with the majority class, and fewer than 100 are no evidence; test on more rows: .*"
    with pytest.raises(PromotionRefused, match=why + "split.fractions.test; --force"):
        promote(make(0, 5), home)
    promote(f"models:/{name}/1", home, force=True, reason="a first try")
    for wrong in (5, 0):
        with pytest.raises(PromotionRefused, match=r"5 rows can be compared with the champion \(version 1\)"):
            promote(make(wrong, 5), home)
    assert aliases(home, name) == {"champion": "1"}


@pytest.mark.ci
def test_a_first_champion_must_beat_the_majority_class(home: Path, make: Make, told: pd.DataFrame) -> None:
    ham = np.flatnonzero(told["label"][:500] == "ham")
    _, seldom = (ham, np.setdiff1d(np.arange(500), ham))[:: 1 if len(ham) >= 250 else -1]
    always = make(seldom, 500)  # says the same of every row
    with pytest.raises(PromotionRefused, match=r"and the majority class on .*: it is not better"):
        promote(always, home)
    hardly = make(seldom[1:], 500)
    with pytest.raises(PromotionRefused, match=r"it is not shown to be better; about [\d,]+ rows would be needed"):
        promote(hardly, home)
    done = promote(make(seldom[: len(seldom) // 2], 500), home)
    assert done.sentence.endswith("it is better.")
    assert "the first champion of" in done.sentence
    assert done.measured[0].version is None


@pytest.mark.ci
def test_a_hundred_rows_do_not_show_that_five_points_less_are_not_worse(home: Path, make: Make, name: str) -> None:
    promote(make(0, 100), home)
    for wrong in (5, 10, 0):
        with pytest.raises(PromotionRefused, match=r"it is not shown to be less than 1 point worse; about [\d,]+ rows"):
            promote(make(wrong, 100), home)
    assert aliases(home, name) == {"champion": "1"}


@pytest.mark.ci
def test_small_losses_do_not_add_up(home: Path, make: Make, name: str) -> None:
    promote(make(0), home)
    assert promote(make(30), home, margin=0.02).champion_before == "1"
    down = r"not promoted: On the same 3,000 test rows .* an earlier champion \(version 1\) on 100.0% .* than 2 points"
    with pytest.raises(PromotionRefused, match=down):
        promote(make(60), home, margin=0.02)
    assert aliases(home, name)["champion"] == "2"


@pytest.mark.slow
def test_where_no_earlier_champion_can_be_measured_nothing_is_promoted(home: Path, make: Make, name: str) -> None:
    promote(make(0, first=3000, train=range(3000)), home)
    promote(make(0, first=3000), home)
    learned = make(0)  # tested on what the first was trained on
    with pytest.raises(PromotionRefused, match=r"It cannot be compared with an earlier champion, version 1: "):
        promote(learned, home)
    assert promote(learned, home, force=True, reason="I know").changed


@pytest.mark.ci
def test_force_runs_no_champion(home: Path, make: Make, name: str) -> None:
    promote(make(60, 400), home)
    done = promote(make(20, 400, first=1000), home, force=True, reason="in haste")
    assert (done.changed, done.measured) == (True, [])


@pytest.mark.ci
def test_who_was_forced_or_rolled_back_is_no_measure_for_later_ones(home: Path, make: Make, name: str) -> None:
    best, good, less = make(0), make(40), make(70)  # a point apart, more or less, each time
    promote(best, home, force=True, reason="it was forced")
    promote(good, home, margin=0.02)
    done = promote(less, home, margin=0.02)
    assert [each.version for each in done.measured] == ["2"], "the first was never promoted by evidence"
    # Back to the second by force: what came after it counts no more, and it counts still.
    promote(good, home, force=True, reason="back")
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    assert client.get_model_version(name, "3").tags["gradus.rolled_back"] == "true"
    assert [each.version for each in promote(make(40), home, margin=0.02).measured] == ["2"]
    assert [each.version for each in promote(make(41), home, margin=0.02).measured] == ["4", "2"]
    # Back by hand, as on MLflow's pages.
    client.set_registered_model_alias(name, "champion", "4")
    assert [each.version for each in promote(make(42), home, margin=0.02).measured] == ["4", "2"]


@pytest.mark.ci
def test_the_margin_is_the_registered_models_or_who_promotes_and_never_the_runs(
    home: Path, make: Make, name: str
) -> None:
    promote(make(0), home)
    generous = make(45, **{"promotion.margin": "0.5"})
    for margin in (None, 0.015):
        with pytest.raises(PromotionRefused, match=f"less than {1.5 if margin else 1} points? worse"):
            promote(generous, home, margin=margin)
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    client.set_registered_model_tag(name, "gradus.promotion.margin", "0.03")
    assert promote(generous, home).margin == 0.03
    for wrong in ("2", "-0.1", "some"):
        client.set_registered_model_tag(name, "gradus.promotion.margin", wrong)
        with pytest.raises(ConfigError, match=r"the tag gradus.promotion.margin of"):
            promote(make(0), home)
    with pytest.raises(ConfigError, match=r"--margin is 2; give a share such as 0.01"):
        promote(generous, home, margin=2)
    client.delete_registered_model_tag(name, "gradus.promotion.margin")


@pytest.mark.ci
def test_a_champion_that_was_tested_on_other_rows_is_run_on_the_candidates(home: Path, make: Make, name: str) -> None:
    promote(make(60, 400), home)
    # The champion's model is right on each of these, whatever its own run says.
    with pytest.raises(PromotionRefused, match=r"400 test rows of the new model, which the champion .* was run on, .*"):
        promote(make(20, 400, first=1000), home)
    some_learned = make(0, 450, first=1950, train=range(1000, 1100))
    done = promote(some_learned, home, margin=0.02)
    assert (done.measured[0].rows, done.measured[0].reference) == (450, 1.0)
    # 350 of the 400 rows are ones that the new champion has learned from, or are too few without them.
    with pytest.raises(PromotionRefused, match=r"cannot be compared with the champion, version 3: .* has learned from"):
        promote(make(0, 90, first=1000), home)
    with pytest.raises(PromotionRefused, match=r"50 rows can be compared with the champion \(version 3\)"):
        promote(make(0, 150, first=1000), home)


@pytest.mark.ci
def test_rows_that_an_earlier_model_has_learned_from_are_left_out(home: Path, make: Make, name: str) -> None:
    first = make(20, 600, train=range(1000, 1100))
    promote(first, home)
    second = make(20, 600, train=range(2000, 2100), **{"model.weights": f"models:/{name}/1"})
    third = make(0, 600, first=600, train=range(2200, 2300), **{"model.weights": f"runs:/{second}"})
    other = make(10, 600, first=600)
    found = compare_runs(third, other, home)
    assert found.test is not None
    # Rows 1000 to 1099 are among the 600 of both; the model before the one before was trained on them.
    assert (found.test.rows, found.test.left_out, found.test.left_out_for_ancestors) == (500, 100, 100)
    assert "the 500 test rows that both have and neither, nor a model that one of them continues, was trained on" in (
        found.sentence
    )
    assert promote(third, home).measured[0].rows == 500
    with open_run(QUIET, home, "orphan", {}) as orphan:
        orphan.set_tags({"gradus.parent_model": "models:/gone/1", "gradus.parent_run": "f" * 32})
        run = MlflowClient(f"sqlite:///{home}/mlflow.db").download_artifacts(other, "predictions.parquet")
        orphan.log_file(Path(run))
    assert compare_runs(orphan.run_id, other, home).warnings == [
        f"run {orphan.run_id[:8]} went on from models:/gone/1, which may have been trained on some of these rows"
    ]
