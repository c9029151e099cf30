"""What every judge that is a language model can do, and which one a config means."""

import threading
from pkgutil import resolve_name
from typing import Any, Protocol

from components.core.errors import JudgeError
from components.judging.config import SERVERS, JudgeConfig
from components.judging.replies import Reply
from components.judging.rubric import Messages
from components.judging.transport import Refused, explained

NOT_THIS_PROMPT = (400, 413, 422)
"""Statuses of refusals that may be due to one prompt: bad request, too large, cannot be processed."""
FORBIDDEN = 403
"""The status of a key that may not do this, and with some servers of a prompt that was flagged."""

ROOM = ("max_tokens", "max_completion_tokens", "num_predict")
"""Fields that bound a reply."""


class PromptRefused(Exception):
    """The server answered that it does not take this prompt: too long, filtered, or a request that it does not know."""

    otherwise: JudgeError | None = None
    """What it means if the server takes no prompt at all, where that depends on the status."""


def meaning_of(error: Refused, missing: str) -> PromptRefused | JudgeError:
    """Return whether a refusal is of one prompt, or of whatever is sent; `missing` says what to do about a 404."""
    meaning = explained(error, missing)
    if error.status not in (*NOT_THIS_PROMPT, FORBIDDEN):
        return meaning
    refused = PromptRefused(f"{error} ({error.said})" if error.said else str(error))
    if error.status == FORBIDDEN:
        refused.otherwise = meaning
    return refused


class Client(Protocol):
    """A language model on a server, asked for verdicts from several threads at once."""

    start: str
    """What a person does when the server is not there, for an error's end."""

    def look_up(self) -> str | None:
        """Return the digest of the model, or None where the protocol knows none.

        Raises:
            JudgeError: if the server has not got the model, or is none that speaks the protocol.
            JudgeUnreachable: if it is down.
        """

    def prepare(self, longest: int) -> None:
        """Be told the bytes of the longest messages that will be asked about, before the first `ask`."""

    def ask(self, messages: Messages, seed: int, room: int = 1) -> Reply:
        """Return what the model says, in `room` times as many tokens as usual.

        Raises:
            Unreadable: if the server's answer is not what its protocol promises.
            PromptRefused: if it refuses what it was sent.
            JudgeError: if it refuses whatever is sent: a key, an address or a model is wrong.
            JudgeUnreachable: if it went away, stalls or keeps failing.
        """


def connect(config: JudgeConfig, stop: threading.Event | None = None) -> Client:
    """Return the client of a judge that is a language model; nothing is sent yet."""
    client: Client = resolve_name(SERVERS[config.kind].client)(config, stop)
    return client


def completed(body: dict[str, Any], extra: dict[str, Any], room: int) -> dict[str, Any]:
    """Return a request's body with `judge.extra` in it, and `room` times as many tokens for the reply.

    A field of `extra` replaces the body's, or with None takes it out; those of `options` are merged one by one.
    """
    fields = body | extra
    if isinstance(extra.get("options"), dict):
        fields["options"] = body.get("options", {}) | extra["options"]
    if isinstance(fields.get("options"), dict):
        fields["options"] = _roomy(fields["options"], room)
    return _roomy(fields, room)


def _roomy(fields: dict[str, Any], room: int) -> dict[str, Any]:
    return {
        name: value * room if name in ROOM and isinstance(value, int) and value > 0 else value
        for name, value in fields.items()
        if value is not None
    }
