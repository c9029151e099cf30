"""Whether a run takes a new file: what the server says now, or said last, is part of the step's key."""

import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.data.download import source_identity
from components.tasks import download
from tests.data.file_server import BODY, SHA256, Server, config


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    running = Server(tmp_path / "server")
    yield running
    running.process.kill()
    running.process.wait()


def test_a_run_takes_the_new_file_when_the_server_has_one(server: Server) -> None:
    (server.folder / "sms.csv").write_text("text,label\nhello,ham\n")
    source = config(server.url("tagged/sms.csv"))
    first = download.without_prefect(source=source)
    assert download.without_prefect(source=source).cached
    (server.folder / "sms.csv").write_text("text,label\nhello,ham\nprize,spam\n")
    second = download.without_prefect(source=source)
    assert (first.facts["rows"], second.facts["rows"], second.cached) == (1, 2, False)
    assert [request.split()[0] for request in server.requests].count("HEAD") == 3
    server.process.kill()
    server.process.wait()
    assert download.without_prefect(source=source).facts == second.facts


def test_without_a_word_from_the_server_it_is_fetched_but_nothing_after_it_is_new(server: Server) -> None:
    (server.folder / "sms.csv").write_text("text,label\nhello,ham\n")
    source = config(server.url("file/sms.csv"))
    found = [download.without_prefect(source=source) for _ in range(2)]
    assert [manifest.cached for manifest in found] == [False, False]
    assert len({manifest.digest for manifest in found}) == 1
    server.process.kill()
    server.process.wait()
    assert download.without_prefect(source=source).cached


def test_who_is_asked_about_a_new_version(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    tagged = config(server.url("tagged/sms.tsv"))
    there = source_identity(tagged, None)["content"]
    assert there == {"ETag": f'"{SHA256}"', "Content-Length": str(len(BODY))}
    assert source_identity(config(server.url("redirect?/tagged/sms.tsv")), None)["content"] == there
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hangs = f"http://127.0.0.1:{silent.getsockname()[1]}/sms.tsv"
        for unclear in (
            *map(server.url, ("file/sms.tsv", "redirect?/status/404", "redirect?file:///etc/hosts")),
            hangs,
        ):
            source = config(unclear, timeout=0.5)
            assert source_identity(source, None) != source_identity(source, None)
    asked = len(server.requests)
    assert source_identity(config(tagged.url, sha256=SHA256), None)["content"] is None
    assert source_identity(tagged, server.folder)["content"] == SHA256
    assert len(server.requests) == asked
    server.process.kill()
    server.process.wait()
    with caplog.at_level(logging.WARNING):
        assert source_identity(tagged, None)["content"] == there
    assert "cannot be reached: what was fetched last is used" in caplog.text
    assert source_identity(config(server.url("tagged/other")), None)["content"] is None
