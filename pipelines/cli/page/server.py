"""The page behind an address: whom it answers, that it asks nobody else for anything, and how it ends."""

import logging
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn
from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders

from components.core.only_from import OnlyFrom
from pipelines.cli.page.layout import CSS, make_page, theme
from pipelines.cli.page.shared import Shelf

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

ONLY_HERE = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; base-uri 'self'; "
    "frame-ancestors 'none'; form-action 'self'"
)
"""What a browser may load for the page: nothing that lies elsewhere."""
ELSEWHERE = re.compile(rb"""<(?:link|script|meta)\b[^>]*["']https?://[^>]*>(?:\s*</script>)?""")
"""What Gradio's own page names of other hosts: fonts to connect to beforehand, a script, pictures for who shares it."""


class StaysHere:
    """Takes out of the page what would have a browser ask other hosts, and forbids the rest."""

    def __init__(self, app: "ASGIApp") -> None:
        self.app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer as the application does, but for that."""
        if scope["type"] != "http" or "text/html" not in Headers(scope=scope).get("accept", ""):
            return await self.app(scope, receive, send)
        # Not compressed, since it is read here.
        scope = {**scope, "headers": [each for each in scope["headers"] if each[0] != b"accept-encoding"]}
        start: Message = {}
        body = b""

        async def sent(message: "Message") -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
                return
            body += message.get("body", b"")
            if not message.get("more_body"):
                page = ELSEWHERE.sub(b"", body)
                headers = MutableHeaders(raw=list(start["headers"]))
                headers["content-security-policy"] = ONLY_HERE
                headers["content-length"] = str(len(page))
                await send({**start, "headers": headers.raw})
                await send({"type": "http.response.body", "body": page})

        return await self.app(scope, receive, sent)


class PageServer(uvicorn.Server):
    """Ends at once when it is told to: what browsers hold open would never end."""

    def __init__(self, app: "ASGIApp", tell: Callable[[], object]) -> None:
        super().__init__(uvicorn.Config(app, log_level="warning", access_log=False, ws="none"))
        self._tell = tell

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - as uvicorn calls it
        """End. The signal is not raised again afterwards, as uvicorn does: to have ended so is a success."""
        logging.getLogger("uvicorn.error").disabled = True  # of every request that is cut it would show a traceback
        self.should_exit = self.force_exit = True
        self._tell()


def make_server(
    home: Path, device: str, password: str | None, hosts: frozenset[str], tell: Callable[[], object]
) -> PageServer:
    """Return the server of the page.

    Args:
        home: the folder of the local store.
        device: where models compute.
        password: what browsers have to give, if anything; any name goes with it, and is who rates.
        hosts: by which names the server may be asked, as the header Host has them.
        tell: called when it ends.
    """
    import gradio as gr

    def is_right(_name: str, given: str) -> bool:
        return secrets.compare_digest(given.encode(), (password or "").encode())

    def end() -> None:
        shelf.ending.set()
        tell()

    shelf = Shelf(home, device)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    looks: dict[str, Any] = {"theme": theme(), "css": CSS, "footer_links": [], "run_history": False, "ssr_mode": False}
    if password:
        looks |= {"auth": is_right, "auth_message": "Any name; it stands beside what you rate."}
    gr.mount_gradio_app(app, make_page(shelf), path="/", **looks)
    return PageServer(OnlyFrom(StaysHere(app), hosts), end)
