"""What downloads and judges share; what each makes of it is in tests/data/test_fetch.py and tests/judging."""

import gzip
import logging
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from components.core import http_client
from components.core.errors import DownloadError, TransientError
from components.core.http_client import HTTPError, Stalled, Transient, answer, open_session, read_text, retried
from components.data.fetch import fetch
from components.data.sources import SourceConfig
from components.judging.config import JudgeConfig
from tests.data.file_server import BODY, Server, config


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "*")
    running = Server(tmp_path / "server")
    yield running
    running.process.kill()
    running.process.wait()


def waits(caplog: pytest.LogCaptureFixture) -> list[float]:
    return [float(found) for found in re.findall(r"again in ([\d.]+) s", caplog.text)]


@pytest.mark.ci
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("asked", "least"), [("1", 1.0), ("0.4", 0.4), ("", 0.0)])
def test_a_download_waits_as_long_as_it_is_asked_to(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture, status: int, asked: str, least: float
) -> None:
    started = time.monotonic()
    assert fetch(config(server.url(f"busy/{status}/{asked}/sms.tsv")), tmp_path / "d", None).read_bytes() == BODY
    assert time.monotonic() - started >= least
    assert len(server.requests) == 2


def test_a_pause_that_is_too_long_is_said_and_not_waited_for(server: Server, tmp_path: Path) -> None:
    with pytest.raises(TransientError, match=r"answered 429 .* asks to wait 7,200 s; gave up after attempt 1: wait a"):
        fetch(config(server.url("busy/429/7200/sms.tsv")), tmp_path, None)


@pytest.mark.ci
@pytest.mark.parametrize("attempts", [2, 3, 4, 5, 8])
def test_attempts_after_429_without_a_time_are_spread_over_a_minute(
    caplog: pytest.LogCaptureFixture, attempts: int
) -> None:
    """At the default back-off of 1 s; here a hundredth, with waits capped at a minute all the same."""
    assert JudgeConfig().backoff == SourceConfig(url="x").backoff == 1

    def limited() -> None:
        raise Transient("too many requests", 429)

    with caplog.at_level(logging.WARNING), pytest.raises(Transient) as caught:
        retried(limited, attempts, 0.01)
    assert caught.value.attempts == attempts
    assert sum(waits(caplog)) >= 0.6 - 0.05 * attempts  # the log rounds


def test_a_wait_can_be_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an hour: were it waited for, pytest would say that the test hangs."""
    monkeypatch.setattr(http_client, "LONGEST_WAIT", 3600)
    stop = threading.Event()
    made: list[int] = []

    def limited() -> None:
        made.append(1)
        threading.Timer(0.1, stop.set).start()
        raise Transient("too many requests", 429)

    with pytest.raises(Transient):
        retried(limited, 4, 3600, stop)
    assert made == [1]


def test_other_errors_are_not_tried_again() -> None:
    made: list[int] = []

    def refused() -> None:
        made.append(1)
        raise HTTPError("no", 404)

    with pytest.raises(HTTPError):
        retried(refused, 4, 60)
    assert made == [1]


@contextmanager
def sending(*parts: bytes) -> Iterator[str]:
    """Serve one request with these bytes, the last of them again and again every now and then if it is a single one."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection, suppress(OSError):
                connection.recv(1 << 16)
                for part in parts:
                    connection.sendall(part)
                while len(parts[-1]) == 1:
                    connection.sendall(parts[-1])
                    time.sleep(0.05)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/x"


def read(url: str, longest: float) -> str:
    session = open_session()
    session.trust_env = False
    with answer(session, "GET", url, timeout=60) as response:
        return read_text(response, 1 << 20, longest)


def test_a_server_that_drips_is_held_to_the_whole_time() -> None:
    """Every byte comes in time, the whole does not: reading in full chunks would wait for hours."""
    with (
        sending(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x") as url,
        pytest.raises(Stalled, match=r"no whole answer within 0\.5 s"),
    ):
        read(url, 0.5)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"


@pytest.mark.parametrize("end", [b"", b"5\r\nhe", b"5\r\nhello\r\n"])
def test_chunks_that_end_too_early_are_an_error_that_may_pass(end: bytes) -> None:
    with sending(CHUNKED, end) as url, pytest.raises(Transient, match="cut short"):
        read(url, 60)


def test_bodies_are_read_whole_however_they_come() -> None:
    packed = gzip.compress(b"hello " * 100_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    with sending(head, *(packed[start : start + 100] for start in range(0, len(packed), 100))) as url:
        assert read(url, 60) == "hello " * 100_000
    with sending(CHUNKED, b"1\r\n!\r\n0\r\n\r\n") as url:
        assert read(url, 60) == "hello!"


def test_a_refusal_carries_what_was_said_and_no_more_than_that(server: Server) -> None:
    with (
        pytest.raises(HTTPError, match=r"^judge: the server answered 302 Found, a redirect to /circle$") as caught,
        answer(open_session(), "GET", server.url("circle"), timeout=60, name="judge", allow_redirects=False),
    ):
        pass
    assert (caught.value.status, caught.value.body) == (302, "")


def test_a_key_that_no_header_can_carry_is_not_shown(server: Server) -> None:
    with (
        pytest.raises(HTTPError) as caught,
        answer(open_session(), "GET", server.url("x"), timeout=60, headers={"Authorization": "sk-secret\n"}),
    ):
        pass
    assert "secret" not in str(caught.value)


def test_an_address_that_is_none_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DownloadError) as caught:
        fetch(config("http://a..b/x"), tmp_path, None)
    assert "\n" not in str(caught.value)
