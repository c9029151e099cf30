"""A judge on any server with `GET /v1/models` and `POST /v1/chat/completions`: vLLM, llama.cpp, LM Studio, OpenAI."""

import json
import threading
from typing import Any

from components.errors import JudgeError
from components.judging.clients import Unreadable
from components.judging.config import JudgeConfig
from components.judging.rubric import Messages, shipped_rubric
from components.judging.transport import SHOWN, Passing, Refused, Transport, explained

NAMED = 5  # models that an error names


class OpenAI:
    """Asks a model on a server that speaks OpenAI's chat protocol."""

    start = "start it, or set judge.url"

    def __init__(self, config: JudgeConfig, stop: threading.Event | None = None) -> None:
        self._config = config
        self._base = "" if config.server.endswith("/v1") else "/v1"
        self._missing = "check judge.model and judge.url"
        self._transport = Transport(config, stop)
        self._schema_refused = False

    def look_up(self) -> str | None:
        """Check that the server lists the model; the protocol has no digest."""
        try:
            text = self._transport.get(f"{self._base}/models")
        except Refused as error:
            if error.status in (404, 405):
                return None  # not every server has the list; the first request tells
            raise explained(error, self._missing) from error
        try:
            names = [str(model["id"]) for model in json.loads(text)["data"]]
        except (ValueError, RecursionError, TypeError, KeyError) as error:
            raise JudgeError(
                f"{self._transport.server} answers, but not like a server with /v1/models; "
                "check judge.url, or set judge.kind"
            ) from error
        if self._config.model not in names:
            there = ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "") or "none"
            raise JudgeError(
                f"{self._transport.server} has no model {self._config.model!r} (it has: {there}); set judge.model"
            )
        return None

    def prepare(self, longest: int) -> None:
        """Do nothing: the server's context length is its own."""

    def ask(self, messages: Messages, seed: int) -> str:
        """Return the content of the model's message.

        A server that refuses the request (400, 422) is asked once more without the reply's schema, which not every
        server knows, and from then on never with it.
        """
        body = {
            "model": self._config.model,
            "messages": messages,
            "stream": self._config.stream,
            "seed": seed,
            "temperature": self._config.sampling_temperature,
            "max_tokens": self._config.max_tokens,
        }
        schema = {"name": "verdict", "strict": True, "schema": shipped_rubric().json_schema}
        if not self._schema_refused:
            try:
                return self._post(body | {"response_format": {"type": "json_schema", "json_schema": schema}})
            except Refused as error:
                if error.status not in (400, 422):
                    raise explained(error, self._missing) from error
        try:
            content = self._post(body)
        except Refused as error:
            raise explained(error, self._missing) from error
        self._schema_refused = True
        return content

    def _post(self, body: dict[str, Any]) -> str:
        text = self._transport.post(f"{self._base}/chat/completions", body, _check_failure)
        return content_of(text, streamed=self._config.stream)


def _check_failure(text: str) -> None:
    """Raise `Passing` where a reply of status 200 is an error, as some proxies answer."""
    try:
        error = json.loads(text)["error"]
    except (ValueError, RecursionError, TypeError, KeyError):
        return
    if error:
        said = error.get("message", error) if isinstance(error, dict) else error
        raise Passing(f"the judge failed while it answered ({' '.join(str(said).split())[:SHOWN]})")


def content_of(text: str, *, streamed: bool) -> str:
    """Return the content of the first choice in a reply, put together if it came as events.

    Raises:
        Unreadable: if the reply has not that form, or a stream ends before `[DONE]`.
    """
    try:
        if not streamed:
            return str(json.loads(text)["choices"][0]["message"]["content"] or "")
        events = [line.removeprefix("data:").strip() for line in text.split("\n") if line.startswith("data:")]
        if not events or events[-1] != "[DONE]":
            raise Unreadable(text)
        choices = [choice for event in events[:-1] for choice in json.loads(event)["choices"][:1]]
        return "".join(choice["delta"].get("content") or "" for choice in choices)
    except (ValueError, RecursionError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise Unreadable(text) from error
