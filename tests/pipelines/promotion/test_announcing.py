"""Who is told that a champion has changed: Prefect's server, and a webhook; and what becomes of it if they are not."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.core.errors import GradusError
from pipelines.promoting import announcing
from pipelines.promoting.promote import promote
from pipelines.promoting.rollback import rollback
from tests.patience import PATIENCE
from tests.pipelines.commands import gradus
from tests.pipelines.labelled_runs import aliases, labelled_run
from tests.pipelines.promotion.receiver import receiving, signature
from tests.ports import free_port
from tests.tracking.mlflow_server import MlflowServer

SECRET = "a-secret-of-forty-characters-0123456789"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announcing, "BACKOFF", 0.001)
    monkeypatch.setenv("GRADUS_WEBHOOK_SECRET", SECRET)


@pytest.mark.ci
def test_a_promotion_is_posted_and_signed_and_tried_again(
    home: Path, make: Callable[..., str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiving(503, 429, 204) as receiver:
        monkeypatch.setenv("GRADUS_WEBHOOK_URL", receiver.url)
        run_id = make(60)
        assert promote(run_id, home, reason=f"we like {SECRET}").warnings == []
    assert len(receiver.posts) == 3
    headers, body = receiver.posts[-1]
    assert headers["X-Gradus-Signature"] == signature(SECRET, body)
    assert headers["X-Gradus-Event"] == "gradus.model.promoted"
    assert len({post[0]["X-Gradus-Delivery"] for post in receiver.posts}) == 1, "it is one message"
    told = json.loads(body)
    assert (told["event"], told["model"], told["version"]) == ("gradus.model.promoted", name, "1")
    assert (told["over"], told["run_id"], told["action"], told["reason"]) == (None, run_id, "promoted", "we like ***")
    assert told["at"]
    assert told["by"]


@pytest.mark.ci
def test_who_cannot_be_told_undoes_nothing_and_is_one_line(
    home: Path, make: Callable[..., str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = make(60)
    with receiving(500) as receiver:
        done = gradus("promote", run_id, "--json", GRADUS_HOME=str(home), GRADUS_WEBHOOK_URL=receiver.url)
        assert done.returncode == 0
        assert len(receiver.posts) == announcing.ATTEMPTS
    line = "the champion has changed, but not everybody was told: the webhook: the server answered 500 Internal Server"
    line += " Error"
    assert json.loads(done.stdout)["warnings"] == [line]
    assert done.stderr == f"gradus: {line}\n"
    promote(make(0), home)
    for address, why in ((receiver.url, "Connection refused"), ("htp://nowhere/secret-path", "No connection adapters")):
        monkeypatch.setenv("GRADUS_WEBHOOK_URL", address)
        (warning,) = rollback(name, home, to="1" if why[0] == "C" else "2").warnings
        assert why in warning
        assert "token-of-their-own" not in warning
        assert "secret-path" not in warning
    monkeypatch.setenv("GRADUS_WEBHOOK_URL", receiver.url)
    monkeypatch.delenv("GRADUS_WEBHOOK_SECRET")
    (warning,) = rollback(name, home, to="1").warnings
    assert "GRADUS_WEBHOOK_URL is set and GRADUS_WEBHOOK_SECRET is not; nothing is sent unsigned" in warning
    assert aliases(home, name)["champion"] == "1"


@pytest.mark.ci
def test_prefects_server_gets_an_event_of_each_change(
    prefect_server: None, home: Path, make: Callable[..., str], name: str
) -> None:
    promote(make(60), home)
    promote(make(0), home)
    assert rollback(name, home).warnings == []

    def kept() -> list[tuple[str, str, Any]]:
        from prefect import get_client

        wanted = {"filter": {"resource": {"id": [f"gradus.model.{name}"]}, "order": "ASC"}, "limit": 50}
        with get_client(sync_client=True) as client:
            events = client.request("POST", "/events/filter", json=wanted).json()["events"]
        return [(each["event"], each["resource"]["gradus.model.version"], each["payload"]["over"]) for each in events]

    deadline = time.monotonic() + PATIENCE
    while len(kept()) < 3:  # the server writes them down some time later
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert sorted(kept()) == [
        ("gradus.model.promoted", "1", None),
        ("gradus.model.promoted", "2", "1"),
        ("gradus.model.rolled_back", "1", "2"),
    ]


@pytest.mark.slow
def test_a_prefect_server_that_is_away_undoes_nothing(home: Path, make: Callable[..., str], name: str) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{free_port()}/api"}):
        (warning,) = promote(make(60), home).warnings
    assert "Prefect's server at http://127.0.0.1:" in warning
    assert "did not take the event: connection refused" in warning
    assert aliases(home, name) == {"champion": "1"}


@pytest.mark.slow
def test_where_mlflows_server_tells_the_address_by_itself_nobody_else_does(
    tmp_path: Path, saved_model: Path, monkeypatch: pytest.MonkeyPatch, patient_tracking: None
) -> None:
    from cryptography.fernet import Fernet
    from mlflow import MlflowClient

    for name, value in {
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http",
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": Fernet.generate_key().decode(),
        "MLFLOW_WEBHOOK_CACHE_TTL": "0",
    }.items():
        monkeypatch.setenv(name, value)
    server = MlflowServer(tmp_path)
    server.start()
    try:
        with receiving() as receiver:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
            monkeypatch.setenv("GRADUS_WEBHOOK_URL", receiver.url)
            run_id = labelled_run(tmp_path / "home", tmp_path, saved_model, "told", 60)
            MlflowClient(server.uri).create_webhook(
                "champions", receiver.url, ["model_version_alias.created"], secret=SECRET
            )
            assert promote(run_id, tmp_path / "home").warnings == []
            assert receiver.told.wait(PATIENCE)
    finally:
        server.stop()
    headers = [post[0] for post in receiver.posts]
    assert all("X-MLflow-Signature" in each and "X-Gradus-Signature" not in each for each in headers)
    assert json.loads(receiver.posts[0][1])["data"] == {"name": "told", "alias": "champion", "version": "1"}


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.ci
def test_the_flow_promotes_goes_back_and_says_in_its_state_why_not(
    home: Path, make: Callable[..., str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.promoting.flow import promotion

    monkeypatch.setenv("GRADUS_HOME", str(home))
    promote(make(60), home)
    better: Any = promotion(make(0))
    assert (better.version, better.changed) == ("2", True)
    state: Any = promotion(make(50), return_state=True)
    assert state.is_failed()
    assert state.message.startswith("not promoted: On the same 200 test rows ")
    assert "\n" not in state.message
    back: Any = promotion(name, back=True, reason="complaints")
    assert (back.version, aliases(home, name)["champion"]) == ("1", "1")
    with pytest.raises(GradusError, match="there is no registered model 'nobody'"):
        promotion("nobody", back=True)
    monkeypatch.setenv("GRADUS_HOME", ".gradus")
    with pytest.raises(GradusError, match="GRADUS_HOME is not an absolute path"):
        promotion(name)
