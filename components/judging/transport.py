"""Requests to a judge's server: bounded in time and size, tried again where that may help."""

import logging
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from components.errors import JudgeError, JudgeUnreachable
from components.judging.config import JudgeConfig

if TYPE_CHECKING:
    import requests
    import tenacity

LOOPBACK = ("localhost", "127.0.0.1", "::1")
PROBES = 2  # attempts at the first request
SOON = 10.0  # seconds in which a server that is up takes a connection, and answers what it has at hand
LONGEST_WAIT = 60.0  # seconds between two attempts, unless the server asks for more
LONGEST_PAUSE = 600.0  # seconds that a server may ask to wait
LARGEST_REPLY = 4 << 20  # bytes; a verdict has some hundred
CHUNK = 1 << 16
SHOWN = 200  # characters of what a server said that an error repeats
PATIENCE = 10
"""A whole reply may take this many times the timeout, which each piece of it may take."""

logger = logging.getLogger(__name__)


class Refused(JudgeError):
    """The server answered with a status that asking again does not change."""

    def __init__(self, message: str, status: int = 0, said: str = "") -> None:
        super().__init__(message)
        self.status, self.said = status, said


def explained(error: Refused, missing: str) -> JudgeError:
    """Return what a refusal means for the user; `missing` says what to do about a 404."""
    if not error.status or 300 <= error.status < 400:
        return JudgeError(*error.args[:1])
    todo = "check the settings under judge"
    if error.status == 404:
        todo = missing
    elif error.status in (401, 403):
        todo = "name a variable with the server's key in judge.api_key_env"
    said = f" ({error.said})" if error.said else ""
    return JudgeError(f"{error}{said}; {todo}")


class Passing(JudgeUnreachable):
    """A failure that the next attempt may not meet. `pause`: seconds that the server asks to wait."""

    pause: float = 0.0


class Transport:
    """A server's address, and a session a thread to talk to it.

    Setting `stop` ends waits between attempts, and no further attempt is made.
    """

    def __init__(self, config: JudgeConfig, stop: threading.Event | None = None) -> None:
        self.server = config.server
        self.stop = stop or threading.Event()
        self._config = config
        self._key = _read_key(config)
        self._sessions = threading.local()

    def get(self, path: str) -> str:
        """Return the body of `path`, which a server has at hand: soon, or it is down.

        Raises:
            Refused: if the server answers with another status than 200.
            JudgeUnreachable: if it does not answer, fails (5xx) or has no time (429), after the last attempt.
        """
        return self._request(min(self._config.attempts, PROBES), "GET", path, None, min(self._config.timeout, SOON))

    def post(self, path: str, body: dict[str, Any], check: Callable[[str], None] | None = None) -> str:
        """Return what the server answers to a JSON body; raises as `get` does.

        `check` may raise `Passing` for a body of status 200 that tells of a failure.
        """
        return self._request(self._config.attempts, "POST", path, body, self._config.timeout, check)

    def _request(self, attempts: int, *request: Any) -> str:
        """Make up to `attempts` of a request, with exponential back-off and jitter in between."""
        import tenacity

        backoff = self._config.backoff
        back_off = tenacity.wait_exponential(backoff, LONGEST_WAIT) + tenacity.wait_random(0, backoff)
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, Passing) and error.pause < LONGEST_PAUSE),
            stop=tenacity.stop_after_attempt(attempts) | tenacity.stop_when_event_set(self.stop),
            wait=lambda state: back_off(state) + _asked_pause(state),
            sleep=tenacity.sleep_using_event(self.stop),
            before_sleep=_report,
            reraise=True,
        )
        try:
            text: str = retrying(self._attempt, *request)
        except Passing as error:
            made = retrying.statistics.get("attempt_number", 1)
            raise JudgeUnreachable(f"{error}; gave up after attempt {made}") from error
        return text

    def _attempt(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None,
        timeout: float,
        check: Callable[[str], None] | None = None,
    ) -> str:
        import requests

        try:
            # No redirects: what is judged is for this server and no other.
            with self._session().request(
                method,
                self.server + path,
                json=body,
                timeout=(min(timeout, SOON), timeout),
                stream=True,
                allow_redirects=False,
            ) as response:
                text = self._read(response, PATIENCE * timeout)
                self._check_status(response, text)
        except requests.RequestException as error:
            raise self._translated(error, timeout) from error
        if check:
            check(text)
        return text

    def _session(self) -> "requests.Session":
        import requests

        session: requests.Session | None = getattr(self._sessions, "session", None)
        if session is None:
            session = self._sessions.session = requests.Session()
            session.headers["Accept-Encoding"] = "identity"
            session.auth = _Bearer(self._key)
            # A proxy of the environment cannot reach this machine's own ports.
            session.trust_env = _host(self.server) not in LOOPBACK
        return session

    def _read(self, response: "requests.Response", longest: float) -> str:
        from requests.exceptions import ReadTimeout

        deadline = time.monotonic() + longest
        body = bytearray()
        for chunk in response.iter_content(CHUNK):
            body += chunk
            if len(body) > LARGEST_REPLY:
                break  # no verdict, whatever it is; it is cut off and then found unreadable
            if time.monotonic() > deadline:
                raise ReadTimeout("timed out")
        text = body.decode("utf-8", "replace")
        return text.replace(self._key, "***") if self._key else text  # some servers repeat a key that they refuse

    def _check_status(self, response: "requests.Response", text: str) -> None:
        status = response.status_code
        if status == 200:
            return
        answer = f"{self.server}: the server answered {status} {response.reason or ''}".rstrip()
        said = " ".join(text.split())[:SHOWN]
        if status == 429 or status >= 500:
            error = Passing(answer + (f" ({said})" if said else ""))
            error.pause = _retry_after(response.headers.get("Retry-After", ""))
            if error.pause >= LONGEST_PAUSE:
                error.args = (f"{error.args[0]} and asks to wait {error.pause:,.0f} s",)
            raise error
        if 300 <= status < 400:
            answer += (
                f", a redirect to {response.headers.get('Location', 'nowhere')}; set judge.url to the place itself"
            )
        raise Refused(answer, status, said)

    def _translated(self, error: "requests.RequestException", timeout: float) -> JudgeError:
        from requests import exceptions

        if isinstance(error, exceptions.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
            return Refused(
                f"{self.server}: the server's certificate is not valid; for a certificate authority of your own set "
                "REQUESTS_CA_BUNDLE"
            )
        if isinstance(error, exceptions.ConnectTimeout):
            return Passing(f"{self.server}: no connection within {min(timeout, SOON):g} s")
        if isinstance(error, exceptions.Timeout) or "timed out" in str(error):
            return Passing(f"{self.server}: no answer within {timeout:g} s")
        if isinstance(error, exceptions.ConnectionError | exceptions.ChunkedEncodingError):
            return Passing(f"{self.server}: {_cause(error)}")
        # Not the error's own text: of a header that cannot be sent it shows the value, and that may be the key.
        return Refused(f"{self.server}: the request could not be sent ({type(error).__name__}); check judge.url")


class _Bearer:
    """Sends the key, if there is one; without it requests would look for a password in ~/.netrc."""

    def __init__(self, key: str | None) -> None:
        self._key = key

    def __call__(self, request: "requests.PreparedRequest") -> "requests.PreparedRequest":
        if self._key:
            request.headers["Authorization"] = f"Bearer {self._key}"
        return request


def _read_key(config: JudgeConfig) -> str | None:
    if config.api_key_env is None:
        return None
    key = os.environ.get(config.api_key_env, "").strip()
    if not key:
        raise JudgeError(
            f"judge.api_key_env names {config.api_key_env}, which is not set; put the server's key into it"
        )
    if not (key.isascii() and key.isprintable()):
        raise JudgeError(f"the key in {config.api_key_env} has characters that no header can carry; check it")
    return key


def _host(server: str) -> str | None:
    from urllib.parse import urlsplit

    return urlsplit(server).hostname


def _retry_after(value: str) -> float:
    """Return the seconds that a Retry-After header asks for, which it gives as such or as a date."""
    if value.strip().isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max((moment - datetime.now(UTC)).total_seconds(), 0.0)


def _asked_pause(state: "tenacity.RetryCallState") -> float:
    error = state.outcome.exception() if state.outcome else None
    return error.pause if isinstance(error, Passing) else 0.0


def _report(state: "tenacity.RetryCallState") -> None:
    if state.outcome and state.next_action:
        wait = state.next_action.sleep
        logger.warning("attempt %d: %s; again in %.1f s", state.attempt_number, state.outcome.exception(), wait)


def _cause(error: BaseException) -> str:
    """Return what the operating system said, which the layers above wrap into several lines."""
    reason, link = "the connection broke", error.__context__
    while link:
        reason = getattr(link, "strerror", None) or reason
        link = link.__cause__ or link.__context__
    return reason
