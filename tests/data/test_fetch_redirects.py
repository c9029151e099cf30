"""Redirects into private networks. Here 127.0.0.2 counts as the internet; the servers and connections are real."""

import hashlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from components.core import redirects
from components.core.errors import DownloadError
from components.data.download import source_identity
from components.data.fetch import fetch
from tests.data.file_server import BODY, Server, config, left_behind

REFUSED = (
    r"^http://127\.0\.0\.\d:\d+/redirect\?.*: refused to go from a public address to the private one .*"
    r"set source\.allow_private=true"
)
PUBLIC = "127.0.0.2"


@pytest.fixture(autouse=True)
def _network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.delenv("no_proxy", raising=False)
    known = redirects.is_private
    monkeypatch.setattr(redirects, "is_private", lambda address: address != PUBLIC and known(address))


@pytest.fixture
def inner(tmp_path: Path) -> Iterator[Server]:
    yield from running(Server(tmp_path / "inner"))


@pytest.fixture
def outer(tmp_path: Path) -> Iterator[Server]:
    yield from running(Server(tmp_path / "outer", address=PUBLIC))


def running(server: Server) -> Iterator[Server]:
    yield server
    server.process.kill()
    server.process.wait()


@pytest.fixture
def downloads(tmp_path: Path) -> Path:
    return tmp_path / "downloads"


@pytest.mark.ci
@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "0.0.0.0", "2130706433", "127.1", "[::ffff:127.0.0.1]", "127.0.0.1.", "LOCALHOST"],
)
def test_a_redirect_into_this_machine_is_refused(outer: Server, inner: Server, downloads: Path, host: str) -> None:
    url = outer.url(f"redirect?http://{host}:{inner.port}/file/sms.tsv")
    with pytest.raises(DownloadError) as caught:
        fetch(config(url), downloads, None)
    if host != "127.0.0.1.":  # which resolvers take for a name, and one that is not there
        assert caught.match(REFUSED)
        assert len(outer.requests) == 1, "it is not tried again"
    assert "\n" not in str(caught.value)
    assert inner.requests == [], "nothing is sent"
    assert left_behind(downloads) == []


@pytest.mark.ci
@pytest.mark.parametrize(
    "target",
    ["http://169.254.169.254/latest/meta-data/", "http://10.1.2.3/", "https://192.168.0.1/", "http://[fd00::1]/",
     "http://[fe80::1]/", "http://[::]/", "http://[64:ff9b::7f00:1]/"],
)  # fmt: skip
def test_a_redirect_into_a_private_network_is_refused_unasked(outer: Server, downloads: Path, target: str) -> None:
    with pytest.raises(DownloadError, match=REFUSED):
        fetch(config(outer.url(f"redirect?{target}")), downloads, None)


def test_every_hop_is_looked_at(outer: Server, inner: Server, downloads: Path) -> None:
    hops = outer.url("redirect?" + outer.url("redirect%3F" + inner.url("file/sms.tsv")))
    with pytest.raises(DownloadError, match=REFUSED):
        fetch(config(hops), downloads, None)
    there_and_back = inner.url("redirect?" + outer.url("redirect%3F" + inner.url("file/sms.tsv")))
    with pytest.raises(DownloadError, match=REFUSED):
        fetch(config(there_and_back), downloads, None)
    assert len(inner.requests) == 1, "not again, even where a connection is open"


@pytest.mark.ci
@pytest.mark.parametrize("first", ["inner", "outer"])
def test_what_may_be_followed_is(request: pytest.FixtureRequest, first: str, tmp_path: Path, downloads: Path) -> None:
    """From a private address to any, and from a public one to a public one."""
    server: Server = request.getfixturevalue(first)
    for name, address in (("one", PUBLIC), ("two", "127.0.0.1")):
        for other in running(Server(tmp_path / name, address=address)):
            source = config(server.url("redirect?" + other.url("file/sms.tsv")))
            if (first, address) == ("outer", "127.0.0.1"):
                source = source.model_copy(update={"allow_private": True})
            assert fetch(source, downloads, None).read_bytes() == BODY


@pytest.mark.ci
def test_a_private_source_that_fails_on_the_way_is_tried_again(outer: Server, inner: Server, downloads: Path) -> None:
    path = fetch(config(inner.url("redirect?" + outer.url("flaky/1/sms.tsv"))), downloads, None)
    assert path.read_bytes() == BODY, "the second attempt begins at the private address again"


def test_a_name_that_means_another_address_the_second_time(
    outer: Server, inner: Server, downloads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: what is checked is the address that the connection has."""
    resolve, asked = socket.getaddrinfo, []

    def rebind(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        if host != "rebind.test":
            return resolve(host, port, *arguments, **options)
        asked.append(host)
        return resolve(PUBLIC if len(asked) == 1 else "127.0.0.1", port, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebind)
    with pytest.raises(DownloadError, match=REFUSED):
        fetch(config(outer.url(f"redirect?http://rebind.test:{inner.port}/file/sms.tsv")), downloads, None)
    assert len(asked) == 2
    assert inner.requests == []


class Proxy(BaseHTTPRequestHandler):
    """Sends whoever asks for anything into its own network."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        self.send_response(302)
        self.send_header("Location", "http://10.0.0.7/secret")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.mark.ci
def test_behind_a_proxy_names_are_looked_at(downloads: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy's own address is private, and counts for nothing."""
    with HTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        proxy.asked = []  # type: ignore[attr-defined]
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        monkeypatch.delenv("NO_PROXY")
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.server_port}")
        with pytest.raises(DownloadError, match=r"to the private one 10\.0\.0\.7"):
            fetch(config("http://data.invalid/sms.tsv"), downloads, None)
        proxy.shutdown()
        assert proxy.asked == ["http://data.invalid/sms.tsv"]  # type: ignore[attr-defined]


def test_asking_for_the_version_follows_no_further(outer: Server, inner: Server) -> None:
    source = config(outer.url("redirect?" + inner.url("tagged/sms.tsv")))
    source_identity(source, None)
    assert inner.requests == []
    allowed = source.model_copy(update={"allow_private": True})
    assert source_identity(allowed, None)["content"] == source_identity(allowed, None)["content"] != None  # noqa: E711
    assert inner.requests == ["HEAD /tagged/sms.tsv"] * 2


def test_a_redirect_with_an_endless_body_is_followed_at_once(inner: Server, downloads: Path) -> None:
    path = fetch(config(inner.url("long-redirect?" + inner.url("file/sms.tsv"))), downloads, None)
    assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(BODY).digest()


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
     "224.0.0.1", "255.255.255.255", "::", "::1", "fc00::1", "fd12::1", "fe80::1%eth0", "ff02::1", "::ffff:10.0.0.1",
     "::ffff:169.254.169.254", "2002:7f00:1::", "64:ff9b::a00:1", "::7f00:1", "fec0::1"],
)  # fmt: skip
def test_private(address: str) -> None:
    assert redirects.is_private(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8",
                                     "64:ff9b::808:808", "2002:808:808::"])  # fmt: skip
def test_public(address: str) -> None:
    assert not redirects.is_private(address)
