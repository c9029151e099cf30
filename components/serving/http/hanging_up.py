"""Clients that hang up before they are answered."""

import asyncio
from typing import TypeVar

from starlette.requests import Request

from components.serving.http.errors import hung_up

Result = TypeVar("Result")


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
        raise hung_up()
    finally:
        hang_up.cancel()
        answer.cancel()


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
