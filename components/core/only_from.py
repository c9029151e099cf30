"""A server that answers nobody but who asks it by its own name.

A web page that somebody looks at can have their browser ask a port of their machine. It cannot choose what the browser
says of it: the header Origin is the page's, and Host is the name that it used, which is not the machine's even where
the name leads to it (DNS rebinding).
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


class OnlyFrom:
    """Refuses whatever is not asked of `hosts`, or is asked by a page that is not at one of them."""

    def __init__(self, app: "ASGIApp", hosts: frozenset[str]) -> None:
        self.app = app
        self.hosts = hosts
        self.origins = frozenset(f"{scheme}://{host}" for host in hosts for scheme in ("http", "https"))

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer 400 to a wrong Host and 403 to a wrong Origin, to HTTP and to what would become a web socket."""
        from starlette.datastructures import Headers

        if scope["type"] in ("http", "websocket"):
            headers = Headers(scope=scope)
            if not set(headers.getlist("host")) <= self.hosts or not headers.get("host"):
                return await self.refusal(400, "Invalid host")(scope, receive, send)
            if not set(headers.getlist("origin")) <= self.origins:
                return await self.refusal(403, "Invalid origin")(scope, receive, send)
        return await self.app(scope, receive, send)

    def refusal(self, status: int, message: str) -> "ASGIApp":
        """Return what answers whoever is refused."""
        from starlette.responses import PlainTextResponse

        return PlainTextResponse(message, status)
