"""A language model in use is watched by what it answers."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from prefect.client.orchestration import SyncPrefectClient

from pipelines.config import load_config
from pipelines.kinds.instruction.flow import instruction
from pipelines.promoting.promote import promote
from pipelines.service.events import MODEL_DEGRADED
from pipelines.service.monitor import monitoring
from pipelines.service.watching import Watched
from tests.patience import eventually

NAME = "instruct-demo"
FEW = ["validation.rows={min: 1}"]
pytestmark = [pytest.mark.slow, pytest.mark.minutes]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, prefect_server: None) -> Iterator[Path]:
    """A home with a champion that has learnt a little."""
    home = tmp_path_factory.mktemp("champion")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADUS_HOME", str(home))
        summary = instruction(load_config(NAME, ["tracking.system_metrics=false", "train.epochs=6"]))
        promote(summary.run_id, home, force=True, reason="a champion to watch")
        yield home


@pytest.fixture
def tested(champion: Path, tmp_path: Path) -> pd.DataFrame:
    """Entries of its test split."""
    client = MlflowClient(f"sqlite:///{champion}/mlflow.db")
    run_id = client.get_model_version_by_alias(NAME, "champion").run_id
    rows = pd.read_parquet(client.download_artifacts(run_id, "responses.parquet", str(tmp_path)))
    entries = rows.sample(min(100, len(rows)), random_state=0).rename(columns={"reference": "output"})
    return entries[["instruction", "input", "output", "task"]]


def test_of_more_of_the_same_nothing_is_said(champion: Path, tested: pd.DataFrame, tmp_path: Path) -> None:
    tested[["instruction", "input"]].to_json(tmp_path / "prompts.json", orient="records")
    found = monitoring(NAME, str(tmp_path / "prompts.json"))
    assert isinstance(found, Watched)
    assert (found.rows, found.labelled, found.degraded) == (len(tested), False, False)
    assert {each.measure for each in found.drifts} == {"length", "endings", "response_length"}

    tested.to_json(tmp_path / "entries.json", orient="records")
    again = monitoring(NAME, str(tmp_path / "entries.json"), labelled=True, overrides=FEW)
    assert isinstance(again, Watched)
    assert (again.labelled, again.degraded) == (True, False)
    missed = next(each for each in again.drifts if each.measure == "missed")
    assert abs(missed.distance) < 0.1, "the same entries were answered as when it was tested"
    client = MlflowClient(f"sqlite:///{champion}/mlflow.db")
    assert [each.path for each in client.list_artifacts(again.run_id, "plots")] == ["plots/drift.png"]


def test_what_it_cannot_answer_degrades_it(
    champion: Path, tested: pd.DataFrame, client: SyncPrefectClient, tmp_path: Path
) -> None:
    other = tested.assign(output=[f"{chr(0xAC00 + number)} nothing of the kind" for number in range(len(tested))])
    other.to_json(tmp_path / "other.json", orient="records")
    found = monitoring(NAME, str(tmp_path / "other.json"), labelled=True, overrides=FEW)
    assert isinstance(found, Watched)
    assert "missed" in {each.measure for each in found.drifts if each.alarm}
    assert found.degraded
    assert found.retraining is None
    wanted = {"event": {"name": [MODEL_DEGRADED]}, "resource": {"id": [f"gradus.model.{NAME}"]}}
    events = eventually(lambda: client.request("POST", "/events/filter", json={"filter": wanted}).json()["events"])
    assert events[0]["resource"]["gradus.retrain"] == "false"
    assert events[0]["resource"]["gradus.kind"] == "instruction"
