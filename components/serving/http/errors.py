"""What is refused, in the form of OpenAI's errors, which its clients turn into exceptions.

https://platform.openai.com/docs/guides/error-codes
"""

import logging
from typing import Any

from starlette.responses import JSONResponse

KINDS = {429: "rate_limit_error", 500: "server_error", 503: "server_error"}
"""The `type` of an error by its status; what is not here is the request's own fault."""


class Refused(Exception):
    """A request that is answered with an error."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        param: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        """Take what the client is told.

        Args:
            status: the HTTP status.
            message: what is wrong, and what to do about it.
            code: a word by which programs know the error.
            param: the field of the request that is to blame.
            retry_after: seconds after which it may be tried again.
        """
        super().__init__(message)
        self.status, self.code, self.param, self.retry_after = status, code, param, retry_after

    def body(self) -> dict[str, Any]:
        """Return the error as JSON has it."""
        kind = KINDS.get(self.status, "invalid_request_error")
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """Return the error as a response."""
        headers = {"Retry-After": str(self.retry_after)} if self.retry_after is not None else {}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(self.body(), self.status, headers)


def hung_up() -> Refused:
    """Return what stands for a request whose client has gone, as nginx counts it; only the figures see it."""
    return Refused(499, "the client hung up")


def logged(error: BaseException) -> Refused:
    """Log a failure that is not the client's own, and return what the client is told of it."""
    logging.getLogger(__name__).error("a request failed", exc_info=error)
    return failed(error)


def failed(error: BaseException) -> Refused:
    """Return what a client is told of a failure that is not its own: no detail, which the server's own log has."""
    return Refused(500, f"the model failed ({type(error).__name__}); the server's log says more", "internal_error")
