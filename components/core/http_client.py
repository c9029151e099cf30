"""HTTP for downloads and judges alike: bounded in time and size, tried again where that may help.

    with answer(session, "GET", url, timeout=30) as response:
        for piece in pieces(response): ...

and `retried` around it. Errors are `HTTPError`; who asked says what they mean for the user.
"""

import logging
import re
import threading
import time
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from components.core.errors import causes
from components.core.versions import installed

if TYPE_CHECKING:
    import requests
    import tenacity

CHUNK = 1 << 16
SOON = 10.0  # seconds in which a server that is up takes a connection
LONGEST_WAIT = 60.0  # seconds between two attempts, unless the server asks for more
LONGEST_PAUSE = 600.0  # seconds that a server may ask to wait
RATE_WINDOW = 60.0
"""Seconds over which attempts are spread after a 429 that names no time, times `backoff`: limits are a minute's."""

Result = TypeVar("Result")

logger = logging.getLogger(__name__)


class HTTPError(Exception):
    """A request failed: what happened, on one line.

    `status` is that of the answer, 0 where there was none; `body` is the start of its body; `todo` is what to do about
    it, where that does not depend on who asked.
    """

    def __init__(self, message: str, status: int = 0, body: str = "", todo: str = "") -> None:
        super().__init__(message)
        self.status, self.body, self.todo = status, body, todo


class Transient(HTTPError):
    """A failure that the next attempt may not meet: the connection, 429 or 5xx.

    `pause` is the seconds that the server asks to wait; `attempts` is how many were made.
    """

    pause: float = 0.0
    attempts: int = 1


class Stalled(Transient):
    """The server took the connection, and then too long."""


def retried(
    attempt: Callable[[], Result], attempts: int, backoff: float, stop: threading.Event | None = None
) -> Result:
    """Return what `attempt` does, called again after a `Transient`: exponential back-off from `backoff` s, and jitter.

    Where a server asks to wait, that comes on top; a 429 that names no time is given `RATE_WINDOW * backoff` in all.
    Setting `stop` ends a wait, and no further attempt is made.

    Raises:
        Transient: the last one, after the last attempt, or if the server asks to wait longer than `LONGEST_PAUSE`.
    """
    import tenacity

    stop = stop or threading.Event()
    back_off = tenacity.wait_exponential(backoff, LONGEST_WAIT) + tenacity.wait_random(0, backoff)
    minute = RATE_WINDOW * backoff / max(attempts - 1, 1)

    def rest(state: "tenacity.RetryCallState") -> None:
        error: Any = state.outcome and state.outcome.exception()
        seconds = back_off(state) + (error.pause or (minute if error.status == 429 else 0.0))
        logger.warning("attempt %d: %s; again in %.1f s", state.attempt_number, error, seconds)
        if stop.wait(seconds):
            raise error

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(lambda error: isinstance(error, Transient) and error.pause < LONGEST_PAUSE),
        stop=tenacity.stop_after_attempt(attempts) | tenacity.stop_when_event_set(stop),
        before_sleep=rest,
        reraise=True,
    )
    try:
        return retrying(attempt)
    except Transient as error:
        error.attempts = retrying.statistics.get("attempt_number", 1)
        raise


def open_session() -> "requests.Session":
    """Return a session that says who asks, and takes bodies as they are stored; one for a thread."""
    import requests

    session = requests.Session()
    # As stored: a length that can be compared, and no archive unpacked on the way.
    session.headers.update({"User-Agent": f"gradus/{installed('gradus') or 0}", "Accept-Encoding": "identity"})
    return session


@contextmanager
def answer(
    session: "requests.Session",
    method: str,
    url: str,
    *,
    timeout: float,
    name: str = "",
    accepted: Container[int] = (200,),
    **request: Any,
) -> "Iterator[requests.Response]":
    """Yield the answer of an `accepted` status to a request, its body unread; `timeout` s hold for each piece of it.

    Errors, also of what the block reads from the body, begin with `name`, or the URL.

    Raises:
        Transient: if the connection fails, breaks or stalls, or the server has no time (429) or fails (5xx).
        HTTPError: if the server answers anything else, or the request cannot be sent.
    """
    import requests
    import urllib3

    name = name or url
    times = (min(timeout, SOON), timeout)
    try:
        with session.request(method, url, timeout=times, stream=True, **request) as response:
            if response.status_code not in accepted:
                raise _refusal(response, name, timeout)
            yield response
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise _translated(error, name, timeout) from error


def pieces(response: "requests.Response") -> Iterator[bytes]:
    """Yield the body as it arrives, so that whoever counts bytes or time is not kept waiting for a full chunk."""
    while piece := response.raw.read1(CHUNK, decode_content=True):
        yield piece


def read_text(response: "requests.Response", largest: int, longest: float) -> str:
    """Return the body as text, cut after about `largest` bytes.

    Raises:
        Stalled: if it has not arrived whole after `longest` seconds.
    """
    deadline = time.monotonic() + longest
    body = bytearray()
    for piece in pieces(response):
        body += piece
        if len(body) > largest:
            break
        if time.monotonic() > deadline:
            raise Stalled(f"{response.url}: no whole answer within {longest:g} s")
    return body.decode("utf-8", "replace")


def _refusal(response: "requests.Response", name: str, timeout: float) -> HTTPError:
    import urllib3

    body, status = "", response.status_code
    with suppress(Stalled, OSError, urllib3.exceptions.HTTPError):
        body = " ".join(read_text(response, CHUNK, timeout).split())
    message = f"{name}: the server answered {status} {response.reason or ''}".rstrip()
    if status == 429 or status >= 500:
        error = Transient(message, status, body)
        error.pause = _retry_after(response.headers.get("Retry-After", ""))
        if error.pause >= LONGEST_PAUSE:
            error.args = (f"{message} and asks to wait {error.pause:,.0f} s",)
        return error
    if response.is_redirect:
        message += f", a redirect to {response.headers['Location']}"
    return HTTPError(message, status, body)


def _retry_after(value: str) -> float:
    """Return the seconds that a Retry-After header asks for, as a number or a date; 0 if it says neither."""
    if re.fullmatch(r"\s*\d+(\.\d*)?\s*", value, re.ASCII):
        return float(value)
    import urllib3

    with suppress(urllib3.exceptions.InvalidHeader, ValueError, OverflowError):
        return urllib3.Retry().parse_retry_after(value)
    return 0.0


def _translated(error: Exception, name: str, timeout: float) -> HTTPError:
    from requests import exceptions

    if isinstance(error, exceptions.InvalidSchema):
        return HTTPError(f"{name}: refused a redirect to something other than http(s): {error}", todo="set source.url")
    if isinstance(error, exceptions.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        todo = "for a certificate authority of your own set REQUESTS_CA_BUNDLE"
        return HTTPError(f"{name}: the server's certificate is not valid: {_cause(error)}", todo=todo)
    if isinstance(error, exceptions.ConnectTimeout):
        return Transient(f"{name}: no connection within {min(timeout, SOON):g} s")
    if isinstance(error, exceptions.Timeout) or "timed out" in str(error):
        return Stalled(f"{name}: no answer within {timeout:g} s")
    if "IncompleteRead" in str(error):
        return Transient(f"{name}: the answer was cut short")
    if isinstance(error, exceptions.InvalidHeader):  # its text shows the header, which may hold a key
        return HTTPError(f"{name}: the request could not be sent (InvalidHeader)")
    if isinstance(error, exceptions.RequestException) and not isinstance(
        error, exceptions.ConnectionError | exceptions.ChunkedEncodingError
    ):
        return HTTPError(f"{name}: {error}")
    return Transient(f"{name}: {_cause(error)}")


def _cause(error: BaseException) -> str:
    """Return what the operating system reported, which the layers above wrap into several lines."""
    said = [reason for each in causes(error.__context__) if (reason := getattr(each, "strerror", None))]
    return said[-1] if said else "the connection broke"
