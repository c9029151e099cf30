"""Who may ask a server: keys, names and pages; and how it ends."""

import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from components.core.errors import ConfigError
from components.models.saved.classifier import LoadedClassifier, load_classifier
from components.serving.http.server import bind, names_of
from tests.patience import PATIENCE
from tests.serving.http.running import running

KEY = "a-key-of-23-characters!"


def test_without_the_key_nothing_but_health_is_told(saved_model: Path) -> None:
    with running(load_classifier(saved_model), key=KEY) as server:
        for given in ({}, {"Authorization": KEY}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer"}):
            for method, path in (("POST", "/predict"), ("GET", "/v1/models"), ("GET", "/metrics"), ("GET", "/no")):
                response = server.client.request(method, path, headers=given)
                assert response.status_code == 401
                assert response.json()["error"]["code"] == "invalid_api_key"
                assert response.headers["www-authenticate"] == "Bearer"
                assert KEY not in response.text
        right = {"Authorization": f"Bearer {KEY}"}
        assert server.client.post("/predict", json={"text": "a"}, headers=right).status_code == 200
        assert server.client.get("/metrics", headers=right).status_code == 200
        assert [server.client.get(path).status_code for path in ("/health", "/ready")] == [200, 200]


def test_other_names_and_other_pages_are_refused(saved_model: Path) -> None:
    with running(load_classifier(saved_model), more_hosts=("models.example.org",)) as server:
        own = f"127.0.0.1:{server.port}"
        for headers, status in (
            ({"Host": own}, 200),
            ({"Host": f"localhost:{server.port}"}, 200),
            ({"Host": "models.example.org", "Origin": "https://models.example.org"}, 200),
            ({"Host": "evil.example"}, 400),
            ({"Host": f"evil.example:{server.port}"}, 400),
            ({"Host": ""}, 400),
            ({"Host": own, "Origin": f"http://{own}"}, 200),
            ({"Host": own, "Origin": "http://evil.example"}, 403),
            ({"Host": own, "Origin": "null"}, 403),
        ):
            response = server.client.post("/predict", json={"text": "a"}, headers=headers)
            assert response.status_code == status, headers
            assert status == 200 or response.json()["error"]["message"].startswith("Invalid ")


def test_the_names_of_a_server() -> None:
    assert names_of("127.0.0.1", 80) >= {"127.0.0.1", "127.0.0.1:80", "localhost:80", "[::1]:80"}
    assert "evil.example" not in names_of("0.0.0.0", 80)
    assert names_of("0.0.0.0", 80, ["a.example"]) >= {"a.example", "a.example:80", "127.0.0.1:80"}


def test_what_cannot_be_listened_on_is_one_line() -> None:
    with bind("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"port {port}: something listens there already; .*--port"):
            bind("127.0.0.1", port)
    with pytest.raises(ConfigError, match=r"--host no\.such\.host\.invalid: no such address"):
        bind("no.such.host.invalid", 0)


def test_a_request_that_does_not_arrive_is_given_up(saved_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.serving.http.requests.TO_ARRIVE", 0.2)
    with (
        running(load_classifier(saved_model)) as server,
        socket.create_connection(("127.0.0.1", server.port)) as client,
    ):
        client.settimeout(PATIENCE)
        client.sendall(b'POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{"te')
        assert client.recv(1000).startswith(b"HTTP/1.1 408 ")
        server.server.handle_exit(signal.SIGTERM, None)
        while client.recv(1000):
            pass  # the server ends, and with it the connection


def test_what_has_begun_is_finished_and_what_is_new_refused(saved_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, let_go = threading.Event(), threading.Event()
    predict = LoadedClassifier.probabilities

    def slow(this: LoadedClassifier, texts: list[str]) -> object:
        begun.set()
        assert let_go.wait(PATIENCE)
        return predict(this, texts)

    monkeypatch.setattr(LoadedClassifier, "probabilities", slow)
    with running(load_classifier(saved_model)) as server, ThreadPoolExecutor(2) as pool:
        first = pool.submit(server.ask, "/predict", text="first")
        assert begun.wait(PATIENCE)
        waiting = pool.submit(server.ask, "/predict", text="waits")
        while server.figure("gradus_queue_length") < 1:
            pass
        server.server.handle_exit(signal.SIGTERM, None)
        refused = server.ask("/predict", text="new")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
        assert "retry-after" in refused.headers
        assert [server.client.get(path).status_code for path in ("/health", "/ready")] == [200, 503]
        let_go.set()
        assert [first.result().status_code, waiting.result().status_code] == [200, 200]
        assert not server.server.was_forced
