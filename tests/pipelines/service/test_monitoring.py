"""A champion is watched: what is like its test data raises no alarm, what is not does, and the rules decide."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from prefect.client.orchestration import SyncPrefectClient

from components.core.errors import ConfigError, PromotionRefused
from pipelines.config import load_config
from pipelines.deployed import run_preset
from pipelines.kinds.classification.flow import classification
from pipelines.promoting.promote import promote
from pipelines.service.events import MODEL_DEGRADED
from pipelines.service.monitor import monitoring
from pipelines.service.watching import Watched
from tests.patience import eventually

MONEY = ("rent", "petrol", "a taxi", "lunch", "the plumber", "shoes", "a ticket", "the vet")
OTHER = [first + last for first in ("ta", "lo", "mi", "ke", "ru") for last in ("bel", "dor", "nim", "vek", "zan")]
WHO = ("mum", "dad", "nan", "mate", "love", "sis", "boss", "neighbour")
pytestmark = [pytest.mark.slow, pytest.mark.minutes]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, prefect_server: None) -> Iterator[Path]:
    """A home with a champion that is right on most of the sample."""
    home = tmp_path_factory.mktemp("champion")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADUS_HOME", str(home))
        summary = classification(load_config("spam-demo", ["tracking.system_metrics=false"]))
        promote(summary.run_id, home)
        yield home


def write(path: Path, rows: list[tuple[str, str]]) -> Path:
    pd.DataFrame(rows, columns=["label", "text"]).to_csv(path, sep="\t", header=False, index=False, quoting=3)
    return path


def changed_world(rng: np.random.Generator, count: int) -> list[tuple[str, str]]:
    """What the champion takes for spam and is not any more, and a new fraud in the words of honest notices."""
    rows = []
    for number in range(count):
        what, who, sum_ = rng.choice(MONEY), rng.choice(WHO), rng.integers(20, 900)
        first, second = (" ".join(rng.choice(OTHER, size=12)) for _ in range(2))  # no two are nearly the same
        request = f"hi {who}, send {sum_} pounds for {what}: {first}"
        notice = f"URGENT {sum_}: your {what} is free, call {number} now: {second}"
        rows += [("ham", request), ("spam", notice)]
    return rows


def degraded_events(client: SyncPrefectClient, name: str) -> list[Any]:
    wanted = {"event": {"name": [MODEL_DEGRADED]}, "resource": {"id": [f"gradus.model.{name}"]}}
    return list(client.request("POST", "/events/filter", json={"filter": wanted}).json()["events"])


def champion_of(home: Path) -> str:
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    return str(client.get_model_version_by_alias("spam-demo", "champion").version)


@pytest.mark.ci
def test_of_more_of_the_same_nothing_is_said(champion: Path, tmp_path: Path) -> None:
    client = MlflowClient(f"sqlite:///{champion}/mlflow.db")
    run_id = client.get_model_version_by_alias("spam-demo", "champion").run_id
    left = pd.read_parquet(client.download_artifacts(run_id, "predictions.parquet", str(tmp_path)))
    tested = left[left["split"] == "test"].sample(300, random_state=0)
    texts = tmp_path / "texts.csv"
    tested[["text"]].to_csv(texts, index=False)
    found = monitoring("spam-demo", str(texts))
    assert isinstance(found, Watched)
    assert (found.rows, found.labelled, found.degraded) == (300, False, False)
    labelled = write(tmp_path / "labelled.tsv", list(zip(tested["label"], tested["text"], strict=True)))
    again = monitoring("spam-demo", str(labelled), labelled=True)
    assert isinstance(again, Watched)
    assert (again.labelled, again.degraded) == (True, False)
    assert "errors" in {each.measure for each in again.drifts}


@pytest.mark.ci
def test_what_cannot_be_watched_is_said(champion: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="fewer than 30"):
        monitoring("spam-demo", str(write(tmp_path / "few.tsv", [("ham", "hello there")] * 3)))
    state: Any = monitoring("nobody", str(tmp_path / "few.tsv"), return_state=True)
    assert state.is_failed()
    assert "nobody" in state.message


def test_noise_degrades_it_and_what_it_teaches_is_refused(
    champion: Path, client: SyncPrefectClient, tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    noise = [(str(rng.choice(["ham", "spam"])), text) for _, text in changed_world(rng, 600)]
    found = monitoring("spam-demo", str(write(tmp_path / "noise.tsv", noise)), labelled=True)
    assert isinstance(found, Watched)
    assert "errors" in [each.measure for each in found.drifts if each.alarm]
    before = champion_of(champion)
    event = eventually(lambda: degraded_events(client, "spam-demo"))[0]
    run = run_preset(event["payload"]["preset"], ["train.epochs=3"])
    with pytest.raises(PromotionRefused):
        promote(run.run_id, champion)
    assert champion_of(champion) == before


@pytest.mark.ci
def test_a_new_fraud_degrades_it_and_a_retrained_one_takes_its_place(
    champion: Path, client: SyncPrefectClient, tmp_path: Path
) -> None:
    before = champion_of(champion)
    heard = len(degraded_events(client, "spam-demo"))
    arrived = write(tmp_path / "new.tsv", changed_world(np.random.default_rng(2), 300))
    found = monitoring("spam-demo", str(arrived), labelled=True)
    assert isinstance(found, Watched)
    assert found.degraded
    assert "errors" in [each.measure for each in found.drifts if each.alarm]
    run = MlflowClient(f"sqlite:///{champion}/mlflow.db").get_run(found.run_id)
    assert run.data.metrics["drift/alarms"] >= 1
    assert run.data.tags["gradus.monitored"] == found.model

    event = eventually(lambda: (now := degraded_events(client, "spam-demo"))[: len(now) - heard])[0]
    assert event["resource"]["gradus.retrain"] == "true"
    again = run_preset(event["payload"]["preset"])
    assert again.model_uri not in (None, f"models:/spam-demo/{before}")
    result = promote(again.run_id, champion)
    assert champion_of(champion) != before, result
