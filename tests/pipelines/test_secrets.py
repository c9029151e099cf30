"""Eight secrets, planted where people have them, and nothing that a run leaves or prints holds one of them."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from tests.judging.serving import OllamaServer, serve
from tests.pipelines.instructing import PRESET, entries
from tests.ports import free_port
from tests.tracking.mlflow_server import MlflowServer

pytestmark = [pytest.mark.slow, pytest.mark.minutes]

TRACKING, SOURCE, JUDGE, PREFECT = (f"planted-password-{number}" for number in range(1, 5))
TOKEN, SIGNATURE = "planted-token-5", "planted%2Bsignature%2F6"
KEY, MISTAKEN = "sk-planted-key-7", "sk-planted-key-8"
PLANTED = [TRACKING, SOURCE, JUDGE, PREFECT, TOKEN, SIGNATURE, "planted+signature/6", KEY, MISTAKEN]


class Place:
    """Servers of all kinds, and a home; every file that anything writes lies in `folder`."""

    def __init__(self, folder: Path, data: str, mlflow: str, prefect: str, judge: OllamaServer) -> None:
        self.folder, self.data, self.judge = folder, data, judge
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT", "MLFLOW", "GRADUS"))}
        self.environment = {
            **kept,
            "GRADUS_HOME": str(folder / "home"),
            "PREFECT_HOME": str(folder / "prefect"),
            "MLFLOW_TRACKING_URI": mlflow,
            "PREFECT_API_URL": prefect,
            "PLAIN_NAME": KEY,
            "COLUMNS": "60",
            "TMPDIR": str(folder),
        }
        self.printed = b""

    def gradus(self, *arguments: str) -> int:
        """Run a command in a process of its own, as `gradus` does; return its exit code."""
        command = [sys.executable, "-c", "from pipelines.cli.start import main; main()", *arguments]
        done = subprocess.run(
            command, env=self.environment, cwd=Path(__file__).parents[2], capture_output=True, check=False
        )
        self.printed += done.stdout + done.stderr
        return done.returncode

    def leaks(self) -> list[tuple[str, str]]:
        """Return each place in which a planted secret stands, with the secret."""
        found = [("terminal", secret) for secret in PLANTED if secret.encode() in self.printed]
        for path in self.folder.rglob("*"):
            if path.is_file() and not path.is_relative_to(self.folder / "planted"):
                with suppress(FileNotFoundError):  # a journal of a server's database, whose transaction is over
                    content = path.read_bytes()
                    name = str(path.relative_to(self.folder))
                    found += [(name, secret) for secret in PLANTED if secret.encode() in content]
        return found


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    planted = tmp_path / "planted"  # what holds the secrets by right: the servers' own files, presets
    planted.mkdir()
    (planted / "entries.json").write_text(json.dumps(entries()))
    with ExitStack() as stack:
        data = stack.enter_context(_files(planted))
        judge = stack.enter_context(serve(planted / "judge", key=KEY))
        mlflow = stack.enter_context(_mlflow(tmp_path / "mlflow"))
        prefect = stack.enter_context(_prefect(tmp_path / "server"))
        yield Place(
            tmp_path,
            data,
            mlflow.replace("://", f"://me:{TRACKING}@"),
            prefect.replace("://", f"://me:{PREFECT}@"),
            judge,
        )


def preset(place: Place, url: str) -> str:
    path = place.folder / "planted/tiny.yaml"
    path.write_text(PRESET.format(url=json.dumps(url)))
    return str(path)


def test_no_secret_is_in_what_runs_print_or_leave(place: Place) -> None:
    source = f"{place.data}/entries.json?token={TOKEN}&X-Amz-Signature={SIGNATURE}"
    judged = [
        "judge.kind=openai",
        "judge.model=llama3:latest",
        f"judge.url={place.judge.url}",
        "judge.api_key_env=PLAIN_NAME",
        "judge.attempts=1",
        "source.attempts=1",
    ]
    sets = [part for each in judged for part in ("--set", each)]
    good = preset(place, source)
    assert place.gradus("run", good, *sets) == 0, place.printed.decode()
    assert place.gradus("run", good, *sets, "--set", "judge.model=missing", "--debug") == 1
    place.judge.behave(key="another", fault="401")  # the server repeats the key that it refuses
    assert place.gradus("run", good, *sets, "--set", "train.seed=2") == 1
    gone = source.replace("entries.json", "gone.json")
    assert place.gradus("run", preset(place, gone), *sets, "--debug") == 1
    assert place.gradus("check", preset(place, source), *sets) == 0, place.printed.decode()
    assert place.gradus("show", preset(place, source), *sets) == 0
    for wrong in (
        f"source.url=http://me:{SOURCE}@127.0.0.1/entries.json",
        f"source.url=ftp://me:{SOURCE}@127.0.0.1/entries.json?token={TOKEN}",
        f"judge.url=http://me:{JUDGE}@127.0.0.1:8000",
        f"judge.api_key_env={MISTAKEN}",
        f"judge.api_key_env=[{MISTAKEN}]",
    ):
        for more in ((), ("--debug",)):
            assert place.gradus("run", good, *sets, "--set", wrong, *more) == 2
    place.environment["MLFLOW_TRACKING_URI"] = f"http://me:{TRACKING}@127.0.0.1:1"
    place.gradus("compare", "0" * 32, "1" * 32, "--debug")
    place.environment["PREFECT_API_URL"] = f"http://me:{PREFECT}@127.0.0.1:1/api"
    assert place.gradus("run", good, *sets, "--debug") == 1
    assert b"token=***" in place.printed
    assert not place.leaks()

    home = place.folder / "home"
    modes = {oct(path.stat().st_mode & 0o777) for path in [home, *home.rglob("*")]}
    assert modes <= {"0o600", "0o700"}


@contextmanager
def _files(folder: Path) -> Iterator[str]:
    handler = partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def _mlflow(folder: Path) -> Iterator[str]:
    folder.mkdir()
    server = MlflowServer(folder)
    try:
        server.start()
        yield server.uri
    finally:
        server.stop()


@contextmanager
def _prefect(folder: Path) -> Iterator[str]:
    folder.mkdir()
    port = free_port()
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port), "--no-ui"]
    environment = {**os.environ, "PREFECT_HOME": str(folder)}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder, start_new_session=True)
    try:
        while not _answers(f"http://127.0.0.1:{port}/api/health"):
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.3)
        yield f"http://127.0.0.1:{port}/api"
    finally:
        os.killpg(process.pid, 15)
        process.wait()


def _answers(address: str) -> bool:
    with suppress(requests.ConnectionError, requests.Timeout):
        return requests.get(address, timeout=60).ok
    return False
