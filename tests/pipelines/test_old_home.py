"""A home that an earlier version made, before one house was made of two: what lies in it is used as it always was.

tests/homes/make.sh has made it; of the store and of the drawings nothing is kept.
"""

import json
import tarfile
from pathlib import Path

import pandas as pd
import pytest

from components.core.errors import PromotionRefused
from components.core.home import home
from components.tracking.stores import open_client
from pipelines.config import load_config
from pipelines.kinds.classification.flow import classification
from pipelines.kinds.instruction.flow import instruction
from pipelines.promoting.promote import promote
from pipelines.run import RunSummary
from tests.pipelines.commands import compare_runs, gradus

ARCHIVE = Path(__file__).parents[1] / "homes/before_one_house.tar.xz"
KINDS = {"spam": "predictions.parquet", "instruct": "responses.parquet"}
ROWS = {"spam": 48, "instruct": 20}
"""How many test rows its runs have."""


@pytest.fixture(autouse=True)
def unpacked(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old home, at another place than it was made at, and the folder of the data that its presets name."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(isolated.parent, filter="data")
    monkeypatch.chdir(isolated.parent / "data")


def recorded(kind: str) -> list[str]:
    """Return the ids of the two runs of a kind, the first first."""
    client = open_client(home())
    experiment = client.get_experiment_by_name(f"old-{kind}")
    assert experiment
    found = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time"])
    assert [run.info.status for run in found] == ["FINISHED"] * 2
    return [run.info.run_id for run in found]


def table(run_id: str, name: str) -> pd.DataFrame:
    client = open_client(home())
    return pd.read_parquet(client.download_artifacts(run_id, name))


def aliases(kind: str) -> dict[str, str]:
    found = open_client(home()).get_registered_model(f"old-{kind}").aliases
    return {name: str(version) for name, version in found.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_its_runs_are_compared_and_its_models_promoted(kind: str) -> None:
    found = compare_runs(f"models:/old-{kind}@champion", f"models:/old-{kind}@candidate", home())
    first, second = recorded(kind)
    assert (found.refused, found.first.run_id, found.second.run_id) == (None, first, second)
    compared = found.test or found.responses
    assert compared is not None
    assert (compared.rows, compared.same_test_set) == (ROWS[kind], True)
    assert found.parameters["train.max_steps"] == ("20", "25")

    with pytest.raises(PromotionRefused):  # of so few rows nothing follows
        promote(second, home())
    assert aliases(kind) == {"champion": "1", "candidate": "2"}
    assert promote(second, home(), force=True, reason="it is the second").champion_before == "1"
    assert aliases(kind) == {"champion": "2", "candidate": "2", "previous_champion": "1"}


@pytest.mark.ci
def test_its_classifier_predicts_what_it_predicted() -> None:
    expected = table(recorded("spam")[0], KINDS["spam"]).query("split == 'test'").head(5)
    done = gradus("predict", "models:/old-spam@champion", *expected["text"], "--json")
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["p_spam"] for row in found] == pytest.approx(expected["p_spam"].tolist(), abs=1e-5)


@pytest.mark.ci
def test_its_language_model_responds_as_it_did() -> None:
    expected = table(recorded("instruct")[0], KINDS["instruct"]).iloc[0]
    options = ["--max-new-tokens", "6", "--precision", "fp32", "--device", "cpu"]
    asked = [expected["instruction"], "--input", expected["input"], *options]
    done = gradus("respond", "models:/old-instruct@champion", *asked)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == expected["response"].strip()


def test_its_responses_are_judged_again() -> None:
    run_id = recorded("instruct")[0]
    done = gradus("judge", run_id, "--set", "judge.kind=lexical", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["figures"]["model"]["score"] == pytest.approx(found["figures_before"]["model"]["score"])


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.ci
@pytest.mark.parametrize("kind", KINDS)
def test_its_runs_are_continued_from(kind: str) -> None:
    first = recorded(kind)[0]
    summary = go_on(f"{kind}.yaml", f"model.weights=runs:/{first}", "train.max_steps=2", "split.seed=9")
    assert (summary.status, summary.model_uri) == ("FINISHED", f"models:/old-{kind}/3")
    client = open_client(home())
    assert client.get_run(summary.run_id).data.tags["gradus.parent_run"] == first
    facts = json.loads(Path(client.download_artifacts(summary.run_id, "facts.json")).read_text())
    assert facts["evaluate"]["ancestors"]["learned"] > 0, "it is known what the old run has learned"


def go_on(preset: str, *overrides: str) -> RunSummary:
    config = load_config(preset, overrides)
    flow = classification if preset.startswith("spam") else instruction
    return flow(config)  # type: ignore[arg-type]
