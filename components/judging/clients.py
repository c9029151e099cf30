"""What every judge that is a language model can do, which one a config means, and how servers name their models."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pkgutil import resolve_name
from typing import Any

from components.core.errors import JudgeError
from components.judging.config import SERVERS, JudgeConfig
from components.judging.replies import Reply
from components.judging.rubric import Messages, Rubric, shipped_rubric
from components.judging.transport import Transport

ROOM = ("max_tokens", "max_completion_tokens", "num_predict")
"""Fields that bound a reply."""
NAMED = 5  # models that an error names
OLLAMA = ("registry.ollama.ai", "library")
"""Host and namespace of a model of Ollama's that names none."""


class Client(ABC):
    """A language model on a server, asked for verdicts from several threads at once."""

    start: str
    """What a person does when the server is not there, for an error's end."""
    missing: str
    """What a person does about a 404."""

    def __init__(self, config: JudgeConfig, stop: threading.Event | None = None) -> None:
        self._config = config
        self._transport = Transport(config, stop)
        self.schema = shipped_rubric().json_schema
        """The form of a reply, for servers that keep to one."""

    @abstractmethod
    def look_up(self) -> str | None:
        """Return the digest of the model, or None where the protocol knows none.

        Raises:
            JudgeError: if the server has not got the model, or is none that speaks the protocol.
            JudgeUnreachable: if it is down.
        """

    def prepare(self, longest: int) -> None:  # noqa: B027 - most servers need no preparation
        """Prepare for messages of at most `longest` bytes, before the first `ask`."""

    def count_requests(self, count: Callable[[], None]) -> None:
        """Call `count` from now on before each request for a reply, the repeated ones too; it may raise."""
        self._transport.before_post = count

    @abstractmethod
    def ask(self, messages: Messages, seed: int, room: int = 1) -> Reply:
        """Return the model's reply, in `room` times as many tokens as usual.

        Raises:
            Unreadable: if the server's answer is not what its protocol promises.
            HTTPError: if it refuses what it was sent, or whatever is sent: a key, an address or a model is wrong.
            JudgeUnreachable: if it went away, stalls or keeps failing.
        """

    def _lacks_model(self, server: str, names: Sequence[str], todo: str) -> JudgeError:
        there = ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "") or "none"
        return JudgeError(f"{server} has no model {self._config.model!r} (it has: {there}); {todo}")


def connect(config: JudgeConfig, stop: threading.Event | None = None, rubric: Rubric | None = None) -> Client:
    """Return the client of a judge that is a language model, told by `rubric` what to do; nothing is sent yet."""
    client: Client = resolve_name(SERVERS[config.kind].client)(config, stop)
    if rubric:
        client.schema = rubric.json_schema
    return client


def completed(body: dict[str, Any], extra: dict[str, Any], room: int) -> dict[str, Any]:
    """Return a request's body with `judge.extra` in it, and `room` times as many tokens for the reply.

    A field of `extra` replaces the body's, or with None takes it out; those of `options` are merged one by one.
    """
    fields = body | extra
    if isinstance(extra.get("options"), dict):
        fields["options"] = body.get("options", {}) | extra["options"]
    if isinstance(fields.get("options"), dict):
        fields["options"] = completed(fields["options"], {}, room)
    return {
        name: value * room if name in ROOM and isinstance(value, int) and value > 0 else value
        for name, value in fields.items()
        if value is not None
    }


def full_name(model: str) -> str:
    """Return an Ollama model's name with all that it implies: host, namespace and tag, in lower case.

    As in Ollama's types/model: `Llama3`, `llama3:latest` and `registry.ollama.ai/library/llama3` are one.
    """
    *place, name = model.strip().lower().rpartition("://")[2].split("/")
    host_and_namespace = [*OLLAMA[: max(2 - len(place), 0)], *place]
    return "/".join([*host_and_namespace, name if ":" in name else f"{name}:latest"])


def may_be(wanted: str, listed: str) -> bool:
    """Return whether a model in a server's list may be the one that is wanted.

    Lists hold names with a prefix (`models/gemini-2.5-flash`, `Qwen/Qwen3-8B`) of models that go by the rest, too.
    """
    one, other = (f"/{name.strip().lower()}" for name in (wanted, listed))
    return full_name(wanted) == full_name(listed) or one.endswith(other) or other.endswith(one)
