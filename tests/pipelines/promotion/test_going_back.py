"""Rollback, the history of a model, and two who promote at once."""

import json
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from components.core.errors import PromotionRefused, TrackingError
from components.tracking.reading import Registered
from components.tracking.registry.finding import resolve_model
from components.tracking.registry.promotion import one_at_a_time
from pipelines.promoting import promote as promoting
from pipelines.promoting.promote import PromotionResult, promote
from pipelines.promoting.rollback import history_of, rollback
from tests.patience import PATIENCE
from tests.pipelines.commands import gradus
from tests.pipelines.labelled_runs import aliases

Make = Callable[..., str]


@pytest.fixture
def client(home: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{home}/mlflow.db")


def told(home: Path, name: str) -> list[tuple[str, str, str | None]]:
    return [(event.action, event.version, event.over) for event in history_of(name, home).events]


@pytest.mark.ci
def test_every_change_of_the_champion_stands_in_its_history(home: Path, make: Make, name: str) -> None:
    promote(make(60), home)
    promote(make(30), home)
    promote(make(31), home, force=True, reason="it is quick")
    # Back behind what was forced, and once more behind what was before that.
    assert rollback(name, home, reason="complaints").version == "2"
    assert rollback(f"models:/{name}@champion", home).version == "1"
    assert aliases(home, name) == {"champion": "1", "previous_champion": "2"}
    assert told(home, name) == [
        ("promoted", "1", None),
        ("promoted", "2", "1"),
        ("forced", "3", "2"),
        ("rolled back", "2", "3"),
        ("rolled back", "1", "2"),
    ]
    with pytest.raises(PromotionRefused, match="has no champion before version 1; name a version with --to"):
        rollback(name, home)
    done = gradus("rollback", name, "--to", "3", "--reason", "not so bad", GRADUS_HOME=str(home))
    assert (done.returncode, done.stdout) == (
        0,
        f"version 3 of {name} is the champion again in place of version 1: not so bad\n",
    )
    shown = gradus("history", name, GRADUS_HOME=str(home))
    assert [word in shown.stdout for word in ("complaints", "it is quick", "forced", "rolled back")] == [True] * 4
    assert shown.stdout.endswith(f"the champion of {name} is version 3\n")
    events = json.loads(gradus("history", name, "--json", GRADUS_HOME=str(home)).stdout)["events"]
    assert [event["at"] for event in events] == sorted(event["at"] for event in events)
    assert all(event["by"] for event in events)


@pytest.mark.slow
def test_who_was_rolled_back_is_no_measure_for_later_ones(home: Path, make: Make, name: str) -> None:
    promote(make(60), home)
    promote(make(0), home)
    rollback(name, home)
    assert [each.version for each in promote(make(30), home).measured] == ["1"]


@pytest.mark.ci
def test_a_champion_that_was_deleted_is_one_line_and_rollback_the_way_out(
    home: Path, make: Make, name: str, client: MlflowClient
) -> None:
    promote(make(60), home)
    promote(make(30), home)
    client.delete_model_version(name, "2")
    better = make(0)
    gone = rf"the champion of {name}, version 2, was deleted, .*`gradus rollback {name}` puts the one before it back"
    with pytest.raises(PromotionRefused, match=gone):
        promote(better, home)
    assert "version 2, was deleted" in history_of(name, home).sentence
    with pytest.raises(TrackingError, match=f"there is no registered model .*`gradus rollback {name}` puts an"):
        resolve_model(f"models:/{name}@champion", home)
    assert aliases(home, name) == {"previous_champion": "1"}
    assert rollback(name, home).version == "1"
    assert promote(better, home).champion_before == "1"
    client.delete_model_version(name, "3")
    assert promote(make(1), home, force=True, reason="no need of the old one").champion_before is None


@pytest.mark.slow
def test_going_back_leaves_out_versions_that_were_deleted(
    home: Path, make: Make, name: str, client: MlflowClient
) -> None:
    for wrong in (80, 50, 10):
        promote(make(wrong), home)
    client.delete_model_version(name, "2")
    assert rollback(name, home).version == "1"


@pytest.mark.ci
def test_a_version_that_cannot_be_loaded_never_becomes_champion(
    home: Path, make: Make, name: str, client: MlflowClient, tmp_path: Path
) -> None:
    run_id = make(60)
    promote(run_id, home)
    promote(make(30), home)
    shutil.rmtree(resolve_model(f"models:/{name}/1", home))
    with pytest.raises(PromotionRefused, match=f"the files of version 1 of {name} are gone or damaged"):
        rollback(name, home)
    (tmp_path / "no model").mkdir()
    client.create_model_version(name, str(tmp_path / "no model"), run_id)
    for change in (
        lambda: rollback(name, home, to="3"),
        lambda: promote(f"models:/{name}/3", home, force=True, reason="it is there"),
    ):
        with pytest.raises(PromotionRefused, match=f"version 3 of {name} cannot be loaded"):
            change()
    assert aliases(home, name) == {"champion": "2", "previous_champion": "1"}
    assert len(told(home, name)) == 2


@pytest.mark.slow
def test_an_alias_set_by_hand_is_said_and_gone_back_from(
    home: Path, make: Make, name: str, client: MlflowClient
) -> None:
    promote(make(60), home)
    make(30)
    client.set_registered_model_alias(name, "champion", "2")
    assert history_of(name, home).sentence == f"the champion of {name} is version 2, which was set by hand"
    assert rollback(name, home).version == "1"


@pytest.mark.slow
def test_what_happened_before_there_was_a_history_is_read_from_the_versions(
    home: Path, make: Make, name: str, client: MlflowClient
) -> None:
    promote(make(60), home)
    promote(make(30), home)
    for tag in [tag for tag in client.get_registered_model(name).tags if tag.startswith("gradus.history.")]:
        client.delete_registered_model_tag(name, tag)
    assert told(home, name) == [("promoted", "1", None), ("promoted", "2", "1")]
    assert rollback(name, home).version == "1"


@pytest.mark.slow
def test_a_registered_model_that_is_not_there_is_one_line(home: Path, make: Make, name: str) -> None:
    make(60)
    for command in ("rollback", "history"):
        done = gradus(command, name[:-1], GRADUS_HOME=str(home))
        assert done.returncode == 1
        assert f"there is no registered model {name[:-1]!r}, did you mean {name!r}?" in done.stderr
    done = gradus("rollback", name, "--to", "9", GRADUS_HOME=str(home))
    assert done.stderr.startswith(f"gradus: there is no registered model models:/{name}/9; ")


def test_an_alias_that_cannot_be_set_leaves_nothing(
    home: Path, make: Make, name: str, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = make(60)

    def fail(*_: object) -> None:
        raise OSError("the server is gone")

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", fail)
    with pytest.raises(TrackingError, match="the server is gone"):
        promote(run_id, home)
    assert (told(home, name), aliases(home, name)) == ([], {})
    assert not [tag for tag in client.get_model_version(name, "1").tags if "promot" in tag]


@pytest.mark.ci
def test_of_two_who_promote_at_once_one_wins(
    home: Path, make: Make, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(make(60), home)
    runs = [make(10), make(11)]
    both_have_looked = threading.Barrier(3, timeout=PATIENCE)
    waited = threading.local()

    def look(model: str, home: Path) -> Registered | None:
        found = find(model, home)
        if not getattr(waited, "done", False):  # the look before the lock
            waited.done = True
            both_have_looked.wait()
        return found

    find = promoting.find_champion
    monkeypatch.setattr(promoting, "find_champion", look)

    def attempt(run_id: str) -> PromotionResult | PromotionRefused:
        try:
            return promote(run_id, home)
        except PromotionRefused as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        with one_at_a_time(name, home):
            answers = [pool.submit(attempt, run_id) for run_id in runs]
            both_have_looked.wait()
        results: list[Any] = [answer.result() for answer in answers]
    won = [each for each in results if isinstance(each, PromotionResult)]
    (lost,) = (each for each in results if isinstance(each, PromotionRefused))
    assert len(won) == 1
    assert "somebody else has just promoted a version" in str(lost)
    assert aliases(home, name)["champion"] == won[0].version
    assert len(told(home, name)) == 2
