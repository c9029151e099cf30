"""A data file is published: what the server hears, and what is refused before it does."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient

from components.core.errors import ConfigError, GradusError
from pipelines.cli.sync import tell_of_its_candidate
from pipelines.config import load_config
from pipelines.service.events import DATA_PUBLISHED, MODEL_REGISTERED, emit
from pipelines.service.publish import publish
from tests.patience import eventually
from tests.pipelines.labelled_runs import labelled_run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "new messages: 1.csv"
    path.write_text("label,text\nham,hello\nspam,win now\n")
    return path


def heard(client: SyncPrefectClient, resource: str) -> list[Any]:
    wanted = {"event": {"prefix": ["gradus."]}, "resource": {"id": [resource]}}
    return list(client.request("POST", "/events/filter", json={"filter": wanted}).json()["events"])


def test_the_server_hears_which_file_for_which_preset(client: SyncPrefectClient, file: Path) -> None:
    found = publish(file, "spam-demo", ["train.max_steps=3"])
    digest = sha256(file.read_bytes()).hexdigest()
    assert (found.sha256, found.kind, found.path) == (digest, "classification", str(file))
    (event,) = eventually(lambda: heard(client, f"gradus.data.{digest[:32]}"))
    assert event["event"] == DATA_PUBLISHED
    assert event["resource"]["gradus.kind"] == "classification"
    config: Any = load_config(event["payload"]["preset"], event["payload"]["overrides"])
    assert (config.source.url, config.source.sha256, config.train.max_steps) == (str(file), digest, 3)


@pytest.mark.parametrize(
    ("name", "preset", "overrides", "message"),
    [
        ("nothing.csv", "spam-demo", [], "there is no such file"),
        ("new messages: 1.csv", "spma", [], "did you mean"),
        ("new messages: 1.csv", "spam-demo", ["train.epoch=1"], "train.epoch"),
    ],
)
@pytest.mark.usefixtures("prefect_server")
def test_what_cannot_be_run_is_not_published(
    file: Path, name: str, preset: str, overrides: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        publish(file.with_name(name), preset, overrides)


@pytest.mark.usefixtures("nobody")
def test_without_a_server_it_says_so(file: Path) -> None:
    with pytest.raises(ConfigError, match="PREFECT_API_URL"):
        publish(file, "spam-demo", [])


def test_a_server_that_is_away_is_named(file: Path) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(GradusError, match=r"127\.0\.0\.1:9.*did not take the event"),
    ):
        emit(DATA_PUBLISHED, "gradus.data.0", {}, {})


@pytest.mark.slow
def test_a_candidate_that_reached_mlflow_late_is_told_of_by_sync(
    client: SyncPrefectClient, isolated: Path, saved_model: Path, tmp_path: Path
) -> None:
    run_id = labelled_run(isolated, tmp_path, saved_model, "late", wrong=0, pipeline="classification")
    tell_of_its_candidate(run_id)
    (event,) = eventually(lambda: heard(client, "gradus.model.late"))
    assert event["event"] == MODEL_REGISTERED
    assert event["payload"] == {"model": "models:/late/1", "name": "late", "run_id": run_id}
    assert event["resource"]["gradus.kind"] == "classification"
