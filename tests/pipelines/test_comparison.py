"""Comparing two runs and promoting a model, on a real MLflow store, from Python and as commands."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from components.data.rules import COLUMNS
from components.errors import GradusError, TrackingError
from components.tracking.config import TrackingConfig
from components.tracking.datasets import log_inputs
from components.tracking.packaging import log_classifier
from components.tracking.runs import open_run
from pipelines.comparison import PromotionResult, compare_runs, promote

GRADUS = [sys.executable, "-c", "from pipelines.cli.main import main; main()"]
ROOT = Path(__file__).parents[2]
ROWS = 200


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one MLflow store for the whole module."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A registered model of the test's own."""
    return str(request.node.name).partition("[")[0][-60:]


def made(home: Path, model: Path, name: str, wrong: int, *, data: str = "a" * 64, **params: str) -> str:
    """A finished run whose model, registered as `name`, errs on the first `wrong` of its test rows."""
    truth = np.arange(ROWS) % 2
    says_spam = np.where(np.arange(ROWS) < wrong, 1 - truth, truth) * 0.8 + 0.1
    prefix = "" if data == "a" * 64 else data[0]
    frame = pd.DataFrame(
        {
            "split": "test",
            "row": np.arange(ROWS),
            "text": [f"{prefix}text {row}" for row in range(ROWS)],
            "label": np.array(["ham", "spam"])[truth],
            "p_ham": 1 - says_spam,
            "p_spam": says_spam,
        }
    )
    table = model.parent / "table.parquet"
    frame[list(COLUMNS)].to_parquet(table)
    predictions = model.parent / "predictions.parquet"
    pd.concat([frame, frame.head(1).assign(split="train", text="trained on")]).to_parquet(predictions)
    with open_run(TrackingConfig(experiment="compared", system_metrics=False), home, "made", params) as run:
        log_inputs(run, {"test": table}, {"test": data}, "nowhere", "made")
        run.log_file(predictions)
        log_classifier(run, model, ["a"], name)
    return run.run_id


def champion(home: Path, name: str, alias: str = "champion") -> str:
    return str(MlflowClient(f"sqlite:///{home}/mlflow.db").get_model_version_by_alias(name, alias).version)


def gradus(home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "GRADUS_HOME": str(home), "COLUMNS": "140"}
    return subprocess.run([*GRADUS, *arguments], env=environment, capture_output=True, text=True, timeout=120)


def test_a_comparison_says_what_differs(home: Path, saved_model: Path, name: str) -> None:
    one = made(home, saved_model, name, wrong=30, epochs="3", seed="1")
    other = made(home, saved_model, name, wrong=5, epochs="4", seed="1", extra="yes")
    found = compare_runs(one, f"models:/{name}/2", home)
    assert (found.first, found.second, found.rows, found.same_test_split) == (one, other, ROWS, True)
    assert {each.key: (each.first, each.second) for each in found.parameters} == {
        "epochs": ("3", "4"),
        "extra": (None, "yes"),
    }
    accuracy = found.differences[0]
    assert (accuracy.metric, accuracy.first, accuracy.second) == ("accuracy", 0.85, 0.975)
    assert accuracy.low < 0.125 < accuracy.high
    assert (found.only_first_right, found.only_second_right, found.significant) == (0, 25, True)
    assert f"made {other[:8]} is significantly better than made {one[:8]}" in found.sentence

    shown = gradus(home, "compare", one[:12], other)
    assert shown.returncode == 0, shown.stderr
    assert found.sentence in " ".join(shown.stdout.split())
    assert "epochs" in shown.stdout
    assert "seed" not in shown.stdout
    printed = gradus(home, "compare", one, other, "--json")
    assert json.loads(printed.stdout) == found.model_dump(mode="json")


def test_runs_without_common_rows_are_refused(home: Path, saved_model: Path, name: str) -> None:
    one = made(home, saved_model, name, wrong=3)
    other = made(home, saved_model, name, wrong=3, data="b" * 64)
    with pytest.raises(GradusError, match="run both on the same source and split"):
        compare_runs(one, other, home)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("f" * 32, "there is no run ffff"),
        ("abcdef0123", "no run begins with abcdef0123"),
        ("models:/nobody@champion", "there is no registered model models:/nobody@champion"),
        ("yesterday's", "names no run"),
    ],
)
def test_an_address_that_leads_nowhere_is_named(home: Path, address: str, message: str) -> None:
    with pytest.raises(TrackingError, match=message):
        compare_runs(address, address, home)


def test_a_run_that_failed_is_not_compared(home: Path) -> None:
    with (
        pytest.raises(ValueError, match="no"),
        open_run(TrackingConfig(experiment="compared", system_metrics=False), home, "failed", {}) as run,
    ):
        raise ValueError("no")
    with pytest.raises(TrackingError, match="is failed, not finished"):
        compare_runs(run.run_id, run.run_id, home)


def test_the_first_model_is_promoted_and_a_worse_one_is_not(home: Path, saved_model: Path, name: str) -> None:
    first = made(home, saved_model, name, wrong=10)
    assert promote(first, home) == PromotionResult(
        model=name, version="1", champion_before=None, changed=True, reason=f"the first champion of {name}"
    )
    again = gradus(home, "promote", first)
    assert (again.returncode, again.stdout) == (0, f"version 1 of {name} is the champion already\n")

    worse = made(home, saved_model, name, wrong=11)
    refused = gradus(home, "promote", worse)
    assert refused.returncode == 1
    assert refused.stderr.startswith("gradus: not promoted: accuracy is 0.9450, the champion's 0.9500. There is no sig")
    assert champion(home, name) == "1"


def test_a_better_model_takes_the_place_and_the_page_says_why(home: Path, saved_model: Path, name: str) -> None:
    promote(made(home, saved_model, name, wrong=10), home)
    better = made(home, saved_model, name, wrong=2)
    done = gradus(home, "promote", f"models:/{name}@candidate", "--metric", "f1", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["champion_before"] == "1"
    assert (champion(home, name), champion(home, name, "previous_champion")) == ("2", "1")
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    for tags in (client.get_model_version(name, "2").tags, client.get_run(better).data.tags):
        assert tags["gradus.promoted_over"] == "1"
        assert tags["gradus.promotion_reason"].startswith("f1 0.9900, the champion's 0.9500")
        assert tags["gradus.promotion_forced"] == "false"
        assert tags["gradus.promoted_at"] >= "2026"


def test_force_needs_a_reason_and_goes_back(home: Path, saved_model: Path, name: str) -> None:
    promote(made(home, saved_model, name, wrong=10), home)
    promote(made(home, saved_model, name, wrong=2), home)
    back = f"models:/{name}@previous_champion"
    assert gradus(home, "promote", back).returncode == 1
    for half in (["--force"], ["--reason", "slow"], ["--force", "--reason", " "]):
        refused = gradus(home, "promote", back, *half)
        assert refused.returncode == 2
        assert "--force and --reason TEXT go together" in refused.stderr
    assert gradus(home, "promote", back, "--force", "--reason", "the new one is slow").returncode == 0
    assert (champion(home, name), champion(home, name, "previous_champion")) == ("1", "2")


def test_what_cannot_be_compared_is_not_promoted(home: Path, saved_model: Path, name: str) -> None:
    promote(made(home, saved_model, name, wrong=10), home)
    other = made(home, saved_model, name, wrong=0, data="c" * 64)
    with pytest.raises(TrackingError, match=r"cannot be compared with the champion: .* --force --reason"):
        promote(other, home)
    assert champion(home, name) == "1"
