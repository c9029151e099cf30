"""The temporary Prefect server, as a process: whom it answers, and when it ends."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import requests
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.patience import PATIENCE

PARENT = """
import json, os, signal
import psutil
from pipelines.cli.console import set_defaults
set_defaults()
from pipelines.cli.prefect_server.temporary import TemporaryServer
server = TemporaryServer()
server.wait()
from prefect.client.orchestration import get_client
with get_client(sync_client=True) as client:
    answer = client.hello().status_code
(child,) = [each.pid for each in psutil.Process().children() if "pipelines.cli.prefect_server.child" in each.cmdline()]
print(json.dumps([os.environ["PREFECT_API_URL"], answer, child, dict(os.environ)]), flush=True)
signal.pause()
"""
EVIL = "http://evil.example"

pytestmark = [pytest.mark.slow, pytest.mark.minutes]


class Started:
    """A process that has started a temporary server and waits."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
        self.parent = subprocess.Popen(
            [sys.executable, "-c", PARENT],
            env=environment | {"PREFECT_HOME": str(folder)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.parent.stdout
        self.api, self.answer, number, self.environment = json.loads(self.parent.stdout.readline())
        self.server = psutil.Process(number)
        self.password = self.server.environ()["PREFECT_SERVER_API_AUTH_STRING"]

    @property
    def auth(self) -> tuple[str, str]:
        user, _, password = self.password.partition(":")
        return user, password


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    found = Started(tmp_path_factory.mktemp("prefect"))
    yield found
    found.parent.kill()


def test_it_answers_its_own_client_and_whoever_asks_whether_it_is_there(started: Started) -> None:
    assert started.answer == 200
    assert requests.get(f"{started.api}/health", timeout=PATIENCE).json() is True
    assert requests.get(f"{started.api}/hello", auth=started.auth, timeout=PATIENCE).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Basic Z3JhZHVzOmd1ZXNz"}, 401),
        ({"Host": "evil.example"}, 400),
        ({"Host": "evil.example:4200"}, 400),
        ({"Host": "127.0.0.1.evil.example"}, 400),
        ({"Host": "127.0.0.1:1"}, 400),
        ({"Origin": EVIL}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
    ],
)
@pytest.mark.ci
@pytest.mark.parametrize("path", ["/hello", "/health", "/flow_runs/filter"])
def test_it_refuses_strangers(started: Started, headers: dict[str, str], status: int, path: str) -> None:
    wrong_place = status != 401
    auth = started.auth if wrong_place else None
    method = "POST" if path == "/flow_runs/filter" else "GET"
    answer = requests.request(method, started.api + path, headers=headers, auth=auth, json={}, timeout=PATIENCE)
    if path == "/health" and not wrong_place:
        assert answer.status_code == 200
    else:
        assert answer.status_code == status
    assert "access-control-allow-origin" not in answer.headers


def test_a_page_elsewhere_may_not_even_ask_what_it_may(started: Started) -> None:
    headers = {"Origin": EVIL, "Access-Control-Request-Method": "POST"}
    answer = requests.options(f"{started.api}/flow_runs/filter", headers=headers, timeout=PATIENCE)
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize(
    ("options", "status"), [({"origin": EVIL}, 403), ({"additional_headers": {"Host": "evil.example"}}, 400)]
)
def test_nor_open_a_web_socket(started: Started, options: dict[str, object], status: int) -> None:
    address = started.api.replace("http", "ws") + "/events/in"
    with pytest.raises(InvalidStatus) as refused, connect(address, subprotocols=["prefect"], **options):  # type: ignore[arg-type,list-item]
        pass
    assert refused.value.response.status_code == status


@pytest.mark.ci
def test_the_password_is_new_every_time_and_nowhere_to_be_read(started: Started, tmp_path: Path) -> None:
    secret = started.auth[1]
    assert len(secret) > 30
    assert secret not in json.dumps(started.environment)  # what else the run starts does not get it
    assert secret not in " ".join(started.server.cmdline() + psutil.Process(started.parent.pid).cmdline())
    for file in started.folder.rglob("*"):
        with suppress(FileNotFoundError):  # a journal of the database, whose transaction is over
            assert not file.is_file() or secret.encode() not in file.read_bytes()
    # And it ends with its parent, however that dies, and does not hold its output open.
    other = Started(tmp_path)
    assert other.auth[1] != secret
    other.parent.send_signal(signal.SIGKILL)
    assert other.parent.communicate(timeout=PATIENCE) == ("", None)
    other.server.wait(timeout=PATIENCE)
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{other.api}/health", timeout=PATIENCE)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (
            {"PREFECT_SERVER_DATABASE_CONNECTION_URL": "sqlite+aiosqlite:////nowhere/at/all.db"},
            "unable to open database",
        ),
        ({"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "0"}, "did not answer within 0 s"),
    ],
)
def test_one_that_cannot_start_says_why_in_one_line(settings: dict[str, str], reason: str, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
    done = subprocess.run(
        [sys.executable, "-c", "from pipelines.cli.start import main; main()", "run", "spam-demo"],
        env=environment | {"PREFECT_HOME": str(tmp_path)} | settings,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    assert first.startswith("gradus: running spam-demo")
    assert second.startswith("gradus: the temporary Prefect server")
    assert reason in second
    assert "PREFECT_API_URL" in second
