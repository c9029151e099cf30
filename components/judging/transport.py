"""Requests to a judge's server: no redirects, a session a thread, and what a failure means for the user."""

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from components.core.errors import JudgeError, JudgeUnreachable
from components.core.http_client import SOON, HTTPError, Stalled, Transient, answer, open_session, read_text, retried
from components.core.redaction import remember_secret
from components.judging.config import JudgeConfig

if TYPE_CHECKING:
    import requests

LOOPBACK = ("localhost", "127.0.0.1", "::1")
PROBES = 2  # attempts at the first request
LARGEST_REPLY = 4 << 20  # bytes; a verdict has some hundred
SHOWN = 200  # characters of a server's answer that an error repeats
NOT_THIS_PROMPT = (400, 413, 422)
"""Statuses of refusals that may be due to one prompt: bad request, too large, cannot be processed."""
FORBIDDEN = 403
"""The status of a key that may not do this, and with some servers of a prompt that was flagged."""
PATIENCE = 10
"""A whole reply may take this many times the timeout, which each piece of it may take."""


def explained(refusal: HTTPError, missing: str) -> JudgeError:
    """Return what a refusal means for the user; `missing` says what to do about a 404."""
    if not refusal.status:
        return JudgeError(f"{refusal}; {refusal.todo or 'check judge.url'}")
    key = "name a variable with the server's key in judge.api_key_env"
    other = "set judge.url to the place itself" if 300 <= refusal.status < 400 else "check the settings under judge"
    return JudgeError(f"{refusal}; {({404: missing, 401: key, FORBIDDEN: key}).get(refusal.status, other)}")


class Transport:
    """A server's address, and a session a thread to talk to it.

    Setting `stop` ends waits between attempts, and no further attempt is made.
    """

    def __init__(self, config: JudgeConfig, stop: threading.Event | None = None) -> None:
        self.server = config.server
        self.stop = stop or threading.Event()
        self.before_post: Callable[[], None] = lambda: None
        """Called before each request for a reply is sent, to count it, or to raise."""
        self._config = config
        self._key = _read_key(config)
        self._sessions = threading.local()

    def get(self, path: str) -> str:
        """Return the body of `path`, which a server has at hand: soon, or it is down.

        Raises:
            HTTPError: if the server answers with another status than 200.
            JudgeUnreachable: if it does not answer, fails (5xx) or has no time (429), after the last attempt.
        """
        timeout = min(self._config.timeout, SOON)
        return self._retried(min(self._config.attempts, PROBES), lambda: self._ask("GET", path, timeout))

    def post(self, path: str, body: dict[str, Any], check: Callable[[str], None] | None = None) -> str:
        """Return what the server answers to a JSON body; raises as `get` does.

        `check` may raise `HTTPError` for a body of status 200 that reports a failure; a `Transient` one is asked again.
        """

        def attempt() -> str:
            self.before_post()
            text = self._ask("POST", path, self._config.timeout, json=body)
            if check:
                check(text)
            return text

        return self._retried(self._config.attempts, attempt)

    def _retried(self, attempts: int, attempt: Callable[[], str]) -> str:
        try:
            return retried(attempt, attempts, self._config.backoff, self.stop)
        except Transient as error:
            unreachable = JudgeUnreachable(f"{error}; gave up after attempt {error.attempts}")
            unreachable.todo = self._todo(error)
            raise unreachable from error

    def _ask(self, method: str, path: str, timeout: float, **request: Any) -> str:
        try:
            # No redirects: what is judged is for this server and no other.
            with answer(
                self._session(), method, self.server + path, name=self.server, timeout=timeout, allow_redirects=False,
                **request,
            ) as response:  # fmt: skip
                return self._hidden(read_text(response, LARGEST_REPLY, PATIENCE * timeout))
        except HTTPError as error:
            if error.body:
                error.args = (f"{error} ({self._hidden(error.body)[:SHOWN]})",)
            raise

    def _session(self) -> "requests.Session":
        session: requests.Session | None = getattr(self._sessions, "session", None)
        if session is None:
            session = self._sessions.session = open_session()
            # Without this requests would look for a password in ~/.netrc.
            session.auth = lambda request: request
            if self._key:
                session.headers["Authorization"] = f"Bearer {self._key}"
            # A proxy of the environment cannot reach this machine's own ports.
            session.trust_env = urlsplit(self.server).hostname not in LOOPBACK
        return session

    def _hidden(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text  # some servers repeat a key that they refuse

    def _todo(self, error: Transient) -> str:
        """Return what to do about a server that is there; nothing where it may not be."""
        fewer = ", or lower judge.concurrency" if self._config.concurrency > 1 else ""
        if error.status == 429 or error.pause:
            return f"wait a while{fewer}"
        if isinstance(error, Stalled):
            return f"raise judge.timeout{fewer}"
        return f"see what the server's own log says{fewer}" if error.status else ""


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
    remember_secret(key)
    return key
