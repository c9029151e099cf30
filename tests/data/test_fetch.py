import io
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.core.errors import DownloadError, HashMismatch
from components.data.fetch import fetch
from tests.data.file_server import BODY, SHA256, Server, config, left_behind


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path / "server")
    yield running
    running.process.kill()
    running.process.wait()


@pytest.fixture
def downloads(tmp_path: Path) -> Path:
    return tmp_path / "downloads"


def test_fetches_once_when_the_hash_is_declared(server: Server, downloads: Path) -> None:
    source = config(server.url("file/sms.tsv"), sha256=SHA256.upper())
    path = fetch(source, downloads, None)
    assert path.read_bytes() == BODY
    assert path == downloads / SHA256 / "sms.tsv"
    assert fetch(source, downloads, None) == path
    assert len(server.requests) == 1
    assert server.requests[0].split()[1].startswith("gradus/")
    assert left_behind(downloads) == [path]


def test_fetches_each_time_without_a_hash(server: Server, downloads: Path) -> None:
    source = config(server.url("file/sms.tsv"))
    first = fetch(source, downloads, None)
    (server.folder / "sms.tsv").write_bytes(b"new")
    second = fetch(source, downloads, None)
    assert (first.read_bytes(), second.read_bytes()) == (BODY, b"new")
    assert len(server.requests) == 2


def test_a_damaged_download_is_fetched_again(server: Server, downloads: Path) -> None:
    source = config(server.url("file/sms.tsv"), sha256=SHA256)
    path = fetch(source, downloads, None)
    path.write_bytes(b"X" + BODY[1:])
    with path.open("rb") as reader:
        assert fetch(source, downloads, None).read_bytes() == BODY
        # Replaced as a whole: who reads the old file never sees half of the new one.
        assert reader.read() == b"X" + BODY[1:]
    assert len(server.requests) == 2


def test_a_published_file_is_readable_as_the_umask_says(server: Server, downloads: Path) -> None:
    mask = os.umask(0o022)
    try:
        path = fetch(config(server.url("file/sms.tsv")), downloads, None)
    finally:
        os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o644
    assert path.parent.stat().st_mode & 0o777 == 0o755


def test_wrong_hash_is_refused_once_and_leaves_nothing(server: Server, downloads: Path) -> None:
    expected = "0" * 64
    with pytest.raises(HashMismatch) as caught:
        fetch(config(server.url("file/sms.tsv"), sha256=expected), downloads, None)
    message = str(caught.value)
    assert expected in message
    assert SHA256 in message
    assert "source.sha256" in message
    assert "\n" not in message
    assert left_behind(downloads) == []
    assert len(server.requests) == 1


def test_server_errors_are_tried_again(server: Server, downloads: Path) -> None:
    path = fetch(config(server.url("flaky/2/sms.tsv"), sha256=SHA256), downloads, None)
    assert path.read_bytes() == BODY
    assert len(server.requests) == 3


def test_server_errors_end_after_the_attempts(server: Server, downloads: Path) -> None:
    with pytest.raises(DownloadError, match=r"answered 503 .*after attempt 3.*GRADUS_MIRROR"):
        fetch(config(server.url("status/503"), attempts=3), downloads, None)
    assert len(server.requests) == 3


@pytest.mark.ci
@pytest.mark.parametrize("status", [204, 304, 403, 404])
def test_other_answers_fail_at_once(server: Server, downloads: Path, status: int) -> None:
    with pytest.raises(DownloadError, match=f"answered {status}.*check source.url"):
        fetch(config(server.url(f"status/{status}")), downloads, None)
    assert len(server.requests) == 1
    assert left_behind(downloads) == []


@pytest.mark.ci
def test_a_stalled_answer_times_out_and_is_tried_again(server: Server, downloads: Path) -> None:
    with pytest.raises(DownloadError, match=r"no answer within 2 s"):
        fetch(config(server.url("stall/sms.tsv"), timeout=2, attempts=2), downloads, None)
    assert len(server.requests) == 2
    assert left_behind(downloads) == []


def test_a_short_answer_is_an_error(server: Server, downloads: Path) -> None:
    with pytest.raises(DownloadError, match="cut short"):
        fetch(config(server.url("cut/sms.tsv"), attempts=2), downloads, None)
    assert len(server.requests) == 2
    assert left_behind(downloads) == []


def test_a_short_answer_is_tried_again_from_the_start(server: Server, downloads: Path) -> None:
    assert fetch(config(server.url("cut-once/sms.tsv")), downloads, None).read_bytes() == BODY
    assert len(server.requests) == 2


def test_a_closed_connection_is_tried_again(server: Server, downloads: Path) -> None:
    with pytest.raises(DownloadError):
        fetch(config(server.url("reset"), attempts=2), downloads, None)
    assert len(server.requests) == 2


def test_nobody_listening(server: Server, downloads: Path) -> None:
    server.process.kill()
    server.process.wait()
    with pytest.raises(DownloadError, match=r"Connection refused.*sms\.tsv.*GRADUS_MIRROR") as caught:
        fetch(config(server.url("file/sms.tsv"), attempts=2), downloads, None)
    assert "\n" not in str(caught.value)


def test_more_bytes_than_allowed_stop_the_stream(server: Server, downloads: Path) -> None:
    with pytest.raises(DownloadError, match=r"more than 100,000 bytes; raise source\.max_bytes"):
        fetch(config(server.url("endless"), max_bytes=100_000), downloads, None)
    assert len(server.requests) == 1
    assert left_behind(downloads) == []


def test_a_length_too_large_is_refused_before_the_body(server: Server, downloads: Path) -> None:
    with pytest.raises(DownloadError, match=r"announced with 1,000,000,000,000 bytes"):
        fetch(config(server.url("huge")), downloads, None)
    assert len(server.requests) == 1


def test_exactly_the_limit_is_allowed(server: Server, downloads: Path) -> None:
    assert fetch(config(server.url("lying"), max_bytes=200_000), downloads, None).stat().st_size == 200_000
    with pytest.raises(DownloadError):
        fetch(config(server.url("lying"), max_bytes=199_999), downloads, None)


def test_a_redirect_to_a_file_is_refused(server: Server, downloads: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    with pytest.raises(DownloadError, match="refused a redirect"):
        fetch(config(server.url(f"redirect?{(tmp_path / 'secret').as_uri()}")), downloads, None)
    assert len(server.requests) == 1
    assert left_behind(downloads) == []


def test_a_redirect_to_http_is_followed(server: Server, downloads: Path) -> None:
    source = config(server.url("redirect?" + server.url("file/sms.tsv")), sha256=SHA256)
    assert fetch(source, downloads, None).read_bytes() == BODY


def test_a_circle_of_redirects_ends(server: Server, downloads: Path) -> None:
    with pytest.raises(DownloadError, match="30 redirects"):
        fetch(config(server.url("circle")), downloads, None)


@pytest.mark.ci
@pytest.mark.parametrize(
    ("path", "options", "says"),
    [
        ("status/404", {}, r"answered 404 .*; check source\.url$"),
        ("status/500", {}, r"answered 500 .*; gave up after attempt 1: wait a while, or put 500 into a folder"),
        (
            "stall/sms.tsv",
            {"timeout": 0.3},
            r"no answer within 0\.3 s; gave up .* put sms\.tsv into a folder and set GRADUS",
        ),
        ("reset", {}, r"check the network"),
        ("cut/sms.tsv", {}, r"the answer was cut short; gave up .*check the network"),
        ("endless", {"max_bytes": 1000}, r"more than 1,000 bytes; raise source\.max_bytes"),
        ("redirect?file:///etc/hostname", {}, r"refused a redirect .*file:///etc/hostname.*; set source\.url"),
        ("file/half.zip", {"member": "sms.tsv"}, r"half\.zip: cannot unpack 'sms\.tsv': .*fetch it again"),
        (
            "file/whole.zip",
            {"member": "ham.tsv"},
            r"whole\.zip holds no 'ham\.tsv'; it holds 'sms\.tsv': set source\.member",
        ),
        ("file/sms.tsv", {"member": "sms.tsv"}, r"sms\.tsv is not a zip, .*drop source\.member"),
        (
            "file/sms.tsv",
            {"sha256": "0" * 64},
            r"has SHA-256 .*, expected 0000.*; if its owner published a new version",
        ),
    ],
)
def test_what_goes_wrong_is_one_line_and_leaves_nothing(
    server: Server, downloads: Path, path: str, options: dict[str, object], says: str
) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("sms.tsv", BODY)
    (server.folder / "whole.zip").write_bytes(archive.getvalue())
    (server.folder / "half.zip").write_bytes(archive.getvalue()[: len(archive.getvalue()) // 2])
    with pytest.raises(DownloadError, match=says) as caught:
        fetch(config(server.url(path), attempts=1, **options), downloads, None)
    assert "\n" not in str(caught.value)
    assert path.partition("?")[0].rpartition("/")[2] in str(caught.value)
    assert list(downloads.iterdir()) == []


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl makes the certificate")
def test_certificates_are_checked(tmp_path: Path, downloads: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    extra = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", *request, *extra], check=True, capture_output=True)
    secure = Server(tmp_path / "secure", certificate, key)
    try:
        source = config(secure.url("file/sms.tsv"))
        with pytest.raises(DownloadError, match=r"certificate is not valid.*REQUESTS_CA_BUNDLE"):
            fetch(source, downloads, None)
        assert secure.requests == []
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        assert fetch(source, downloads, None).read_bytes() == BODY
    finally:
        secure.process.kill()
        secure.process.wait()


FETCH = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell has it ignored
from pathlib import Path
from components.data.fetch import fetch
from components.data.sources import SourceConfig
fetch(SourceConfig(url=sys.argv[1]), Path(sys.argv[2]), None)
"""


def wait_for_begun(process: "subprocess.Popen[bytes]", server: Server, downloads: Path) -> None:
    """Wait until a fetch has asked, and writes what it gets."""
    while not server.requests or not list(downloads.glob(".fetch-*")):
        assert process.poll() is None, "the fetch died"
        time.sleep(0.02)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_fetch_publishes_nothing(server: Server, downloads: Path, how: signal.Signals) -> None:
    command = [sys.executable, "-c", FETCH, server.url("stall/sms.tsv"), str(downloads)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL)
    wait_for_begun(process, server, downloads)
    process.send_signal(how)
    process.wait()
    assert len(server.requests) == 1
    assert [path for path in downloads.iterdir() if not path.name.startswith(".fetch-")] == []
    assert (list(downloads.iterdir()) == []) == (how == signal.SIGINT)
    # What a killed process could not take away goes with the next fetch.
    assert list(downloads.iterdir()) == [] or fetch(config(server.url("file/sms.tsv")), downloads, None)
    assert not list(downloads.glob(".fetch-*"))


def test_a_fetch_leaves_alone_what_another_one_is_at(server: Server, downloads: Path) -> None:
    command = [sys.executable, "-c", FETCH, server.url("stall/sms.tsv"), str(downloads)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL) as process:
        wait_for_begun(process, server, downloads)
        (at_work,) = downloads.glob(".fetch-*")
        fetch(config(server.url("file/sms.tsv")), downloads, None)
        assert list(downloads.glob(".fetch-*")) == [at_work]
        process.kill()


@pytest.mark.ci
def test_progress_is_shown_on_a_terminal_only(server: Server, downloads: Path) -> None:
    command = [sys.executable, "-c", FETCH, server.url("file/sms.tsv"), str(downloads)]
    root = Path(__file__).parents[2]
    silent = subprocess.run(command, cwd=root, capture_output=True, check=True)
    assert (silent.stdout, silent.stderr) == (b"", b"")
    terminal, end = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    subprocess.run(command, cwd=root, stdout=subprocess.DEVNULL, stderr=end, env=environment, check=True)
    os.close(end)
    assert b"sms.tsv" in os.read(terminal, 1 << 16)
    os.close(terminal)


def test_what_the_mirror_lacks_comes_from_the_network(server: Server, downloads: Path, tmp_path: Path) -> None:
    assert fetch(config(server.url("file/sms.tsv")), downloads, tmp_path / "no such folder").read_bytes() == BODY
