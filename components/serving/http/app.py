"""The application: what every served model has, with the routes of its kind."""

import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from fastapi import APIRouter, FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response

from components.serving.http.errors import Refused, failed
from components.serving.http.guard import FIGURES, Gate, OnlyByName
from components.serving.http.metrics import Metrics

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class Served(Protocol):
    """A model that is served: its name, and its routes."""

    name: str
    router: APIRouter

    @property
    def is_alive(self) -> bool:
        """Whether it still answers."""

    def close(self) -> None:
        """Let go of what answers."""


def make_app(served: Served, metrics: Metrics, key: str | None, hosts: frozenset[str]) -> tuple[OnlyByName, Gate]:
    """Return the application of a served model, and the gate before its routes.

    Args:
        served: the model.
        metrics: where requests are counted.
        key: what clients have to show, if anything.
        hosts: by which names the server may be asked, as the header Host has them.
    """
    app = FastAPI(title="Gradus", docs_url=None, redoc_url=None)  # whose pages load scripts from elsewhere
    app.include_router(served.router)
    _add_common(app, served, metrics)
    _add_errors(app)
    gate = Gate(app, key, metrics, frozenset(paths_of(served)))
    app.add_api_route("/ready", _ready(served, gate), methods=["GET"])
    return OnlyByName(gate, hosts), gate


def paths_of(served: Served) -> list[str]:
    """Return the paths by which a model of this kind is asked."""
    return [str(getattr(route, "path", "")) for route in served.router.routes]


def _add_common(app: FastAPI, served: Served, metrics: Metrics) -> None:
    model = {"id": served.name, "object": "model", "created": int(time.time()), "owned_by": "gradus"}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [model]}

    @app.get("/v1/models/{name:path}")
    async def one(name: str) -> dict[str, Any]:
        check_name(served.name, name)
        return model

    @app.get("/health")
    async def health() -> JSONResponse:
        well = served.is_alive
        return JSONResponse({"status": "ok" if well else "failed"}, 200 if well else 500)

    @app.get(FIGURES)
    async def figures() -> Response:
        return PlainTextResponse(metrics.page(), media_type=PROMETHEUS)


def _ready(served: Served, gate: Gate) -> Callable[[], Awaitable[JSONResponse]]:
    async def ready() -> JSONResponse:
        takes = served.is_alive and not gate.draining
        return JSONResponse({"status": "ready" if takes else "draining", "model": served.name}, 200 if takes else 503)

    return ready


def _add_errors(app: FastAPI) -> None:
    async def refused(_request: Request, error: Exception) -> Response:
        assert isinstance(error, Refused)
        return error.response()

    async def unknown(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        where = f"{request.method} {request.url.path}"
        words = {404: f"there is no {where} here", 405: f"{where}: another method is needed"}
        response = Refused(error.status_code, words.get(error.status_code, str(error.detail))).response()
        response.headers.update(error.headers or {})
        return response

    async def broken(_request: Request, error: Exception) -> Response:
        return failed(error).response()

    app.add_exception_handler(Refused, refused)
    app.add_exception_handler(HTTPException, unknown)
    app.add_exception_handler(Exception, broken)


def check_name(served: str, asked: str | None) -> None:
    """Raise Refused if a client asks for another model than the one that is served."""
    if asked is not None and asked != served:
        message = f"The model {asked!r} does not exist here; this server has {served!r}"
        raise Refused(404, message, "model_not_found", "model")
