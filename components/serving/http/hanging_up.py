"""Clients that hang up before they are answered."""

import asyncio
from typing import TypeVar

from starlette.requests import Request

from components.serving.http.errors import Refused

Result = TypeVar("Result")
GONE = 499
"""The status of a request whose client has gone, as nginx counts it; nobody sees it but the log and the figures."""


async def unless_gone(request: Request, answer: "asyncio.Future[Result]") -> Result:
    """Wait for an answer, and cancel it once the client has hung up, or whoever waits is cancelled.

    Raises:
        Refused: if the client is gone.
    """
    hang_up = asyncio.ensure_future(_hung_up(request))
    try:
        await asyncio.wait((answer, hang_up), return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        raise Refused(GONE, "the client hung up")
    finally:
        hang_up.cancel()
        answer.cancel()


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
