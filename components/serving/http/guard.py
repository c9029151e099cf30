"""What stands before the routes: who may ask, whether the server still takes requests, and what is counted of them."""

import secrets
import time
from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from components.core.only_from import OnlyFrom
from components.serving.http.errors import Refused
from components.serving.http.metrics import Metrics

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

PROBES = frozenset({"/health", "/ready"})
"""What asks whether a server is well: without a key, and while it ends."""
FIGURES = "/metrics"
DRAINING = 5
"""Seconds after which a client may try again that comes while the server ends: another one may have taken over."""


class OnlyByName(OnlyFrom):
    """Refuses, in the form of all errors here, whatever is not asked of the server by one of its names."""

    def refusal(self, status: int, message: str) -> "ASGIApp":
        """Return what answers whoever is refused."""
        what = "name of this server; --allow-host NAME adds one" if status == 400 else "page of this server"
        return Refused(status, f"{message}: it is no {what}", "forbidden_origin").response()


class Gate:
    """Lets in who has the key, as long as the server takes requests; counts them, and how long they take."""

    def __init__(self, app: "ASGIApp", key: str | None, metrics: Metrics, paths: frozenset[str]) -> None:
        """Take the application, its key, and the `paths` that it knows: others are counted as one."""
        self.app, self.metrics, self.paths = app, metrics, paths
        self._key = key.encode() if key else None
        self.under_way = 0
        """Requests that are being answered, but for probes."""
        self.draining = False
        """Whether new requests are refused, since the server ends."""

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer a request, or say why not."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        path, headers, started = scope["path"], Headers(scope=scope), time.perf_counter()
        status = 499  # as long as nothing is sent: the client has hung up

        async def sent(message: "Message") -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        counted = path not in PROBES
        self.under_way += counted
        try:
            await self._app(path, headers)(scope, receive, sent)
        finally:
            self.under_way -= counted
            name = path if path in self.paths else "other"
            self.metrics.requests.labels(name, status).inc()
            self.metrics.seconds.labels(name).observe(time.perf_counter() - started)

    def _app(self, path: str, headers: Headers) -> "ASGIApp":
        if path in PROBES:
            return self.app
        if self._key and not self._is_right(headers):
            return Refused(401, "the key is missing or wrong: Authorization: Bearer KEY", "invalid_api_key").response()
        if self.draining and path != FIGURES:
            refused = Refused(503, "the server is ending", "draining", retry_after=DRAINING).response()
            refused.headers["Connection"] = "close"
            return refused
        return self.app

    def _is_right(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        assert self._key is not None
        return secrets.compare_digest(given.strip().encode(), self._key) and scheme.lower() == "bearer"
