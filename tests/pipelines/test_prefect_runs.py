"""Runs and Prefect's server: one that dies, one that is not there, and runs whose process is gone."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from prefect import flow, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    temporary_settings,
)

from components.core.config import Config
from components.core.errors import GradusError
from components.tracking.provenance import process_tags
from pipelines.prefect_runs import close_orphans, run_with_prefect
from pipelines.run import RunSummary
from tests.patience import PATIENCE, eventually


class Nothing(Config):
    pass


@flow(name="classification", persist_result=False)
def small(config: Nothing) -> RunSummary:
    return RunSummary(run_id="1", status="FINISHED")


# A server that is not there, or is none, when a run begins.


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """Start a server that gives every question the same answer; the address of its API."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/api"
        server.shutdown()


def refused(address: str) -> str:
    """Return the line in which a run says that it cannot use a server."""
    settings = temporary_settings({PREFECT_API_URL: address, PREFECT_CLIENT_MAX_RETRIES: 0})
    with settings, pytest.raises(GradusError) as caught:
        run_with_prefect(small, Nothing(), "small")
    message = str(caught.value)
    assert "\n" not in message
    assert "check PREFECT_API_URL" in message
    return message


@pytest.mark.ci
@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (503, b"", "cannot be used: it answers 503 Service Unavailable;"),
        (500, b"oops", "cannot be used: it answers 500 Internal Server Error;"),
        (401, b'{"exception_message": "Unauthorized"}', "cannot be used: it answers 401 Unauthorized;"),
        (404, b"", "cannot be used: it answers 404 Not Found;"),
        (200, b"<html>hello</html>", "it does not answer as a Prefect server does"),
        (200, b"{}", "it does not answer as a Prefect server does"),
        (200, b"[1]", "it does not answer as a Prefect server does"),
        (200, b'"3.8.8"', "it does not answer as a Prefect server does"),
        (200, b"\xff\x00", "it does not answer as a Prefect server does"),
        (204, b"", "it does not answer as a Prefect server does"),
    ],
)
def test_a_server_that_is_none_is_named_in_one_line(status: int, body: bytes, said: str) -> None:
    with answering(status, body) as address:
        message = refused(address)
    assert message.startswith(f"Prefect's server at {address} cannot be used")
    assert said in message


@pytest.mark.ci
def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    message = refused("http://gradus:open-sesame@127.0.0.1:9/api")
    assert message.startswith("Prefect's server at http://127.0.0.1:9/api cannot be used: connection refused")
    assert "open-sesame" not in message


@pytest.mark.ci
@pytest.mark.parametrize("address", ["nonsense", "http://", "http://no-such-host.invalid/api", "ftp://127.0.0.1/api"])
def test_an_address_that_is_none_is_named(address: str) -> None:
    refused(address)


@pytest.mark.ci
def test_the_command_ends_with_1_and_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from pipelines.cli.start import main; main()", "run", "spam-demo"],
        env=os.environ | {"PREFECT_API_URL": "http://127.0.0.1:9/api"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    assert first == "gradus: running spam-demo with http://127.0.0.1:9/api"
    assert second.startswith("gradus: Prefect's server at http://127.0.0.1:9/api cannot be used: connection refused;")


# Runs of dead processes.

DIES = """
import os, signal, sys
from prefect import flow, task
from components.core.config import Config
from pipelines.prefect_runs import record_process, run_with_prefect
from pipelines.run import RunSummary

class Nothing(Config):
    pass

@task
def work():
    from prefect import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
    from prefect.runtime import flow_run
    import time
    mine = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run.id]))
    with get_client(sync_client=True) as client:
        while not client.read_task_runs(flow_run_filter=mine):
            time.sleep(0.1)  # what it does is told in the background
    print(flow_run.id, flush=True)
    signal.pause()

@flow(name="classification", on_running=[record_process])
def endless(config: Nothing) -> RunSummary:
    work()

endless(Nothing()) if sys.argv[1] == "python" else run_with_prefect(endless, Nothing(), "endless")
"""


@pytest.mark.ci
@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("started_by", ["gradus", pytest.param("python", marks=pytest.mark.slow)])
def test_flow_and_task_runs_of_a_dead_process_are_closed(started_by: str) -> None:
    environment = os.environ | {"PREFECT_API_URL": str(PREFECT_API_URL.value())}
    process = subprocess.Popen(
        [sys.executable, "-c", DIES, started_by], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    run_id: Any = process.stdout.readline().strip()
    mine = FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))
    with get_client(sync_client=True) as client:
        assert run_id not in close_orphans(client)  # it lives
        assert client.read_flow_run(run_id).state_name == "Running"
        process.kill()
        process.wait()
        close_orphans(client)  # or a run that begins in another test meanwhile, which uses the same server
        run = eventually(lambda: (now := client.read_flow_run(run_id)).state_name != "Running" and now)
        assert (run.state_name, run.state.message) == ("Crashed", "its process ended without closing the run")
        (worked,) = client.read_task_runs(flow_run_filter=mine)
        assert (worked.state_name, worked.state.message) == ("Crashed", run.state.message)
        assert run_id not in close_orphans(client)


@pytest.mark.usefixtures("prefect_server")
def test_a_run_of_another_machine_or_of_an_unknown_process_is_left_alone() -> None:
    elsewhere = {**process_tags(), "gradus.host": "elsewhere"}
    with get_client(sync_client=True) as client:
        for context in (elsewhere, {}):
            run = client.create_flow_run(small, parameters={"config": {}}, context=context)
            assert str(run.id) not in close_orphans(client)
            assert client.read_flow_run(run.id).state_name == "Pending"


@pytest.mark.usefixtures("prefect_server")
def test_a_run_that_begins_closes_what_the_dead_left() -> None:
    dead = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    whose = process_tags(dead.pid)
    dead.communicate()
    with get_client(sync_client=True) as client:
        left = client.create_flow_run(small, parameters={"config": {}}, context=dict(whose))
        assert run_with_prefect(small, Nothing(), "small").status == "FINISHED"
        assert client.read_flow_run(left.id).state_name == "Crashed"


# A server that dies while a run is under way.

LOST = """
import os, sys, time
import psutil
os.environ |= {"PREFECT_CLIENT_MAX_RETRIES": "1", "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "600"}
from pipelines.cli.console import quieten
quieten()
from pipelines.cli.prefect_server.temporary import TemporaryServer
server = TemporaryServer()
from prefect import flow, task
import pipelines.prefect_runs as runs
from components.core.config import Config
from components.core.errors import DataRejected
from components.tasks.shared import show_link, show_table
from pipelines.run import RunSummary

runs.PATIENCE = 1

class Nothing(Config):
    pass

@task
def work():
    show_table("table", [{"a": 1}], "a table")
    return 1

@flow(name="classification", persist_result=False)
def losing(config: Nothing) -> RunSummary:
    assert work() == 1
    (child,) = [each for each in psutil.Process().children() if "pipelines.cli.prefect_server.child" in each.cmdline()]
    child.kill()
    child.wait()
    assert work() + work() == 2
    show_link("link", "http://127.0.0.1", "a link", None)
    if OUTCOME == "fails":
        raise DataRejected("nothing will do")
    if OUTCOME == "is stopped":
        raise KeyboardInterrupt
    return RunSummary(run_id="1", status="FINISHED")

def main():
    from pipelines.cli.console import errors_as_lines
    with errors_as_lines(False):
        print(runs.run_with_prefect(losing, Nothing(), "losing").status)

server.wait()
import typer
import pipelines.cli.main as cli
cli.app = typer.Typer()
cli.app.command()(main)
sys.argv = ["gradus"]
cli.main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("outcome", "code", "out", "err"),
    [
        ("ends well", 0, "FINISHED\n", ""),
        pytest.param("fails", 3, "", "gradus: nothing will do", marks=pytest.mark.ci),
        ("is stopped", 130, "", "gradus: interrupted"),
    ],
)
def test_a_run_whose_server_dies_ends_as_it_would_have(
    outcome: str, code: int, out: str, err: str, tmp_path: Any
) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
    done = subprocess.run(
        [sys.executable, "-c", f"OUTCOME = {outcome!r}\n{LOST}"],
        env=environment | {"PREFECT_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stdout) == (code, out), done.stderr
    first, *rest = done.stderr.splitlines()
    assert first.startswith("  Prefect's server at http://127.0.0.1:")
    assert "was lost while this ran" in first
    assert "\n".join(rest).startswith(err)
    assert len(rest) == bool(err)
