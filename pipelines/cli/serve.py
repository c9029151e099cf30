"""The process of the temporary Prefect server: ends with its parent, and answers nobody but this machine's own client.

A web page that somebody looks at can have their browser ask a port of their machine. It cannot choose what the browser
says of it: the header Origin is the page's, and Host is the name that it used, which is not the machine's even where
the name leads to it (DNS rebinding).
"""

import socket
import sys
from typing import TYPE_CHECKING

from pipelines.cli.children import end_with_parent

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

LOOPBACK = "127.0.0.1"


class OnlyFrom:
    """Refuses whatever is not asked of `hosts`, or is asked by a page that is not at one of them."""

    def __init__(self, app: "ASGIApp", hosts: frozenset[str]) -> None:
        self.app = app
        self.hosts = hosts
        self.origins = frozenset(f"http://{host}" for host in hosts)

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer 400 to a wrong Host and 403 to a wrong Origin, to HTTP and to what would become a web socket."""
        from starlette.datastructures import Headers
        from starlette.responses import PlainTextResponse

        if scope["type"] in ("http", "websocket"):
            headers = Headers(scope=scope)
            if not set(headers.getlist("host")) <= self.hosts or not headers.get("host"):
                return await PlainTextResponse("Invalid host", 400)(scope, receive, send)
            if not set(headers.getlist("origin")) <= self.origins:
                return await PlainTextResponse("Invalid origin", 403)(scope, receive, send)
        return await self.app(scope, receive, send)


def serve(descriptor: int) -> None:
    """Serve Prefect's API on a socket that is bound to the loopback interface, until told to stop.

    What else there is to say, password and database among it, the environment says.
    """
    end_with_parent()
    bound = socket.socket(fileno=descriptor)
    port = bound.getsockname()[1]
    import uvicorn
    from prefect.server.api.server import create_app

    app = OnlyFrom(create_app(), hosts(port))
    config = uvicorn.Config(app, lifespan="on", log_level="error")
    server = uvicorn.Server(config)
    server.run(sockets=[bound])
    if not server.started:
        sys.exit(1)


def hosts(port: int) -> frozenset[str]:
    """Return the values of the header Host by which this machine's own client asks."""
    return frozenset({f"{LOOPBACK}:{port}", f"localhost:{port}"})


if __name__ == "__main__":
    serve(int(sys.argv[1]))
