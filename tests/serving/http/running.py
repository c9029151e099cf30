"""A model that is served in this process, on a free port."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from components.serving.http.server import Server, Settings, bind, make_server
from tests.patience import PATIENCE


class Running:
    """A server that runs: its address, and a client."""

    def __init__(self, server: Server, port: int) -> None:
        self.server, self.port = server, port
        self.url = f"http://127.0.0.1:{port}"
        self.client = httpx.Client(base_url=self.url, trust_env=False, timeout=PATIENCE)

    def ask(self, path: str, **body: Any) -> httpx.Response:
        return self.client.post(path, json=body)

    def error(self, path: str, **body: Any) -> tuple[int, dict[str, Any]]:
        """Return the status and the error of a request that is refused."""
        response = self.ask(path, **body)
        assert list(response.json()) == ["error"], response.text
        return response.status_code, response.json()["error"]

    def figure(self, name: str) -> float:
        """Return one of the figures for Prometheus, by its name with its labels."""
        lines = dict(line.rsplit(" ", 1) for line in self.client.get("/metrics").text.splitlines() if line[0] != "#")
        return float(lines.get(name, 0))


@contextmanager
def running(loaded: Any, **settings: Any) -> Iterator[Running]:
    with bind("127.0.0.1", 0) as bound:
        server, served = make_server(loaded, bound, Settings(**{"name": "tuned", **settings}), lambda _left: None)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        found = Running(server, bound.getsockname()[1])
        try:
            wait_until_ready(found.client)
            yield found
        finally:
            found.client.close()
            server.should_exit = True
            thread.join(PATIENCE)
            served.close()


def wait_until_ready(client: httpx.Client) -> None:
    """Wait until a server takes requests."""
    for _ in range(PATIENCE * 20):
        try:
            if client.get("/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        threading.Event().wait(0.05)
    raise AssertionError("the server never was ready")
