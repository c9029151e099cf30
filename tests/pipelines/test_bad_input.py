"""Bad input through the whole flow: one clear line, the right exit code, a FAILED run, and nothing lost."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from components.core.errors import GradusError
from components.core.home import home
from pipelines.config import load_config
from pipelines.kinds.classification.flow import classification
from tests.data.file_server import Server

pytestmark = pytest.mark.usefixtures("prefect_server")

TINY = [
    "model.size={layers: 1, heads: 1, width: 16, context: 32}",
    "train.max_steps=2",
    "train.eval_batches=1",
    "tracking.system_metrics=false",
    "source.backoff=0.01",
    "source.timeout=60",
    "source.attempts=2",
]
ROWS = [
    f"{'spam' if row % 3 == 0 else 'ham'}\tmessage {'abcdefghij'[row % 10]}{row} {'x' * (row % 7)}" for row in range(90)
]
GOOD = "\n".join(ROWS) + "\n"
ROOT = Path(__file__).parents[2]


def start(url: str, *overrides: str) -> None:
    classification(load_config("spam-demo", [*TINY, f"source.url={url}", *overrides]))


def zipped(text: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("sms.tsv", text)
    return buffer.getvalue()


CASES: dict[str, tuple[bytes, list[str], int, str]] = {
    "truncated archive": (zipped(GOOD)[:-30], ["source.member=sms.tsv"], 1, r"data\.zip"),
    "corrupt archive": (
        zipped(GOOD)[:60] + bytes(40) + zipped(GOOD)[100:],
        ["source.member=sms.tsv"],
        1,
        r"data\.zip",
    ),
    "wrong hash": (GOOD.encode(), ["source.sha256=" + "ab" * 32], 1, "abab"),
    "missing member": (zipped(GOOD), ["source.member=other.tsv"], 1, r"other\.tsv.*sms\.tsv"),
    "a bomb": (zipped("\0" * 50_000_000), ["source.member=sms.tsv"], 1, r"data\.zip: refused .* a ratio of 1,0\d\d "),
    "empty file": (b"", [], 1, "is empty"),
    "empty table": (b"label\ttext\n", ["source.header=true", "source.columns={label: label, text: text}"], 3, "empty"),
    "undeclared label": (
        (GOOD + "eggs\tsomething else\n").encode(),
        ["validation.label_in_set.severity=error"],
        3,
        "eggs",
    ),
    "bytes that are not UTF-8": (
        GOOD.encode() + "ham\tcaf\u00e9\n".encode("latin-1"),
        [],
        1,
        r"not utf-8: byte \d+ \(line 91\)",
    ),
    "missing column": (GOOD.encode(), ["source.columns={label: 0, text: 5}"], 3, "column"),
    "a class smaller than the splits": (
        GOOD.encode() + b"eggs\tonly one\n",
        ["validation.labels=[ham, spam, eggs]", "validation.rows_per_class.min=1"],
        2,
        "no row labelled 'eggs'",
    ),
    "all one class": (GOOD.replace("spam\t", "ham\t").encode(), [], 3, "rows_per_class.*spam"),
    "blank texts": ("".join("ham\t \nspam\t\u200b\n" for _ in range(40)).encode(), [], 3, "every row fails|0 rows"),
}


QUICK = {"truncated archive", "undeclared label", "a class smaller than the splits"}
"""One for each exit code; what reading says of the others is tested where it reads."""


@pytest.mark.parametrize(
    "case", [case if case in QUICK else pytest.param(case, marks=pytest.mark.slow) for case in CASES]
)
def test_bad_files(case: str, tmp_path: Path) -> None:
    content, overrides, exit_code, message = CASES[case]
    path = tmp_path / ("data.zip" if "source.member" in str(overrides) else "data.tsv")
    path.write_bytes(content)
    with pytest.raises(GradusError) as caught:
        start(str(path), *overrides)
    assert caught.value.exit_code == exit_code
    first, *rows = str(caught.value).splitlines()
    assert re.search(message, first), first
    assert not rows or exit_code == 3  # where data is rejected, the rows stand below
    assert only_status() == "FAILED"
    assert path.read_bytes() == content
    assert not list((home() / "store").glob("*/.*-*/*"))  # no half-written folder


def only_status() -> str:
    client = MlflowClient(f"sqlite:///{home()}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("spam-demo").experiment_id])
    return str(run.info.status)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    running = Server(tmp_path / "server")
    (running.folder / "good.tsv").write_text(GOOD)
    yield running
    running.process.kill()
    running.process.wait()


@pytest.mark.ci
@pytest.mark.parametrize(
    ("path", "overrides", "message"),
    [
        ("status/404", [], "404"),
        ("status/500", [], "500"),
        ("stall/good.tsv", ["source.timeout=2"], r"no answer within 2 s"),
        ("lying", ["source.max_bytes=1000"], "max_bytes"),
        ("redirect?file:///etc/hostname", [], "file://"),
        ("reset", [], "connection|closed|broke"),
    ],
)
def test_bad_servers(server: Server, path: str, overrides: list[str], message: str) -> None:
    with pytest.raises(GradusError, match=message) as caught:
        start(server.url(path), *overrides)
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)
    assert only_status() == "FAILED"
    assert not list((home() / "store/download").glob("[!.]*"))


@pytest.mark.slow
def test_a_server_that_recovers_is_no_failure(server: Server) -> None:
    start(server.url("flaky/1/good.tsv"), "source.attempts=3")
    assert only_status() == "FINISHED"


@pytest.mark.slow
def test_no_network_is_said_and_the_next_run_goes_on(server: Server) -> None:
    server.process.kill()
    server.process.wait()
    with pytest.raises(GradusError, match=r"127\.0\.0\.1") as caught:
        start(server.url("file/good.tsv"))
    assert "\n" not in str(caught.value)


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("GRADUS_HOME", str(tmp_path / "file/home"))
    with pytest.raises(GradusError, match="file/home") as caught:
        start("sample://spam.tsv")
    assert "\n" not in str(caught.value)


@pytest.mark.ci
def test_ctrl_c_during_a_download_ends_with_130_and_a_killed_run(server: Server) -> None:
    from prefect.settings import PREFECT_API_URL

    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code = heed + "from pipelines.cli.main import main; main()"
    options = [f"--set={value}" for value in [*TINY, f"source.url={server.url('stall/good.tsv')}"]]
    environment = {**os.environ, "PREFECT_API_URL": str(PREFECT_API_URL.value()), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, "run", "spam-demo", *options, "--json"]
    with subprocess.Popen(command, env=environment, stdout=-1, stderr=-1, text=True) as process:
        wait_for(lambda: any((home() / "downloads").glob(".fetch-*")))
        process.send_signal(signal.SIGINT)
        try:
            stdout, stderr = process.communicate()
        finally:
            process.kill()
    assert process.returncode == 130, stderr
    assert json.loads(stdout)["status"] == "KILLED"
    assert "gradus: interrupted" in stderr
    assert "Traceback" not in stderr
    assert only_status() == "KILLED"
    assert not list((home() / "store/download").glob("[!.]*"))


def wait_for(happened: Callable[[], bool]) -> None:
    while not happened():
        time.sleep(0.1)
