"""A judge on any server with `GET /v1/models` and `POST /v1/chat/completions`: vLLM, llama.cpp, LM Studio, OpenAI."""

import json
import threading
from typing import Any
from urllib.parse import urlsplit

from components.core.errors import JudgeError
from components.core.http_client import HTTPError, Transient
from components.judging.clients import Client, completed, may_be
from components.judging.config import JudgeConfig
from components.judging.replies import MALFORMED, Reply, read_openai
from components.judging.rubric import Messages, folded
from components.judging.transport import FORBIDDEN, NOT_THIS_PROMPT, SHOWN, explained

EFFORTS = {True: "medium", "low": "low", "medium": "medium", "high": "high"}
"""What `judge.think` is called here. Nothing turns thoughts off everywhere, so that is left to `judge.extra`."""
CODES = {str(status): status for status in (*NOT_THIS_PROMPT, FORBIDDEN)} | dict.fromkeys(
    ("content_filter", "context_length_exceeded"), 400
)
"""The status that the code of an error means which came with status 200."""


Form = tuple[bool, bool]
"""Whether a request carries a reply's schema, and a system message: some servers refuse either."""
FORMS: tuple[Form, ...] = ((True, True), (False, True), (True, False), (False, False))
"""Forms of a request, the best one first."""


class OpenAI(Client):
    """Asks a model on a server that speaks OpenAI's chat protocol."""

    start = "start it, or set judge.url"
    missing = "check judge.model and judge.url"

    def __init__(self, config: JudgeConfig, stop: threading.Event | None = None) -> None:
        super().__init__(config, stop)
        self._base = "" if urlsplit(config.server).path else "/v1"
        self._forms = FORMS
        """Those that are tried: all of them until one has been taken, and then that one."""

    def look_up(self) -> str | None:
        """Check that the server lists the model, where it has a list; the protocol has no digest."""
        try:
            names = _listed(json.loads(self._transport.get(f"{self._base}/models")))
        except HTTPError as error:
            if error.status in (404, 405):
                return None  # not every server has the list; the first request shows
            raise explained(error, self.missing) from error
        except MALFORMED as error:
            raise JudgeError(
                f"{self._transport.server} answers, but not like a server with {self._base}/models; "
                "check judge.url, or set judge.kind"
            ) from error
        if names is not None and not any(may_be(self._config.model, name) for name in names):
            raise self._lacks_model(self._transport.server, names, "set judge.model")
        return None

    def ask(self, messages: Messages, seed: int, room: int = 1) -> Reply:
        """Return the model's message.

        Not every server knows a reply's schema or the system's role. Until one request has been taken, one that is
        refused is sent again without the one, the other and both; what has been taken first is kept to for the run.
        """
        for form in self._forms:
            try:
                body = self._body(messages, seed, room, form)
                text = self._transport.post(f"{self._base}/chat/completions", body, _check_failure)
            except HTTPError as error:
                if error.status not in NOT_THIS_PROMPT:
                    raise
                refusal = error
                continue
            # Of two threads that settle at once, the better form stays.
            settled = self._forms if len(self._forms) == 1 else ()
            self._forms = (min((*settled, form), key=FORMS.index),)
            return read_openai(text)
        raise refusal

    def _body(self, messages: Messages, seed: int, room: int, form: Form) -> dict[str, Any]:
        config, (schema, system) = self._config, form
        body: dict[str, Any] = {
            "model": config.model,
            "messages": messages if system else folded(messages),
            "stream": config.stream,
            "seed": seed,
            "temperature": config.sampling_temperature,
            "max_tokens": config.max_tokens,
        }
        if config.think in EFFORTS:
            body["reasoning_effort"] = EFFORTS[config.think]
        if schema:
            verdict = {"name": "verdict", "strict": True, "schema": self.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": verdict}
        return completed(body, config.extra, room)


def _listed(answer: Any) -> list[str] | None:
    """Return the names of a list of models, which may be bare; None if it says that there are more."""
    models = answer if isinstance(answer, list) else answer.get("data", answer.get("models"))
    names = [model if isinstance(model, str) else str(model.get("id") or model["name"]) for model in models]
    more = isinstance(answer, dict) and (answer.get("has_more") or answer.get("nextPageToken"))
    return None if more else names


def _check_failure(text: str) -> None:
    """Raise HTTPError where a reply of status 200 is an error, as some proxies answer."""
    try:
        error = json.loads(text)["error"]
    except MALFORMED:
        return
    if error:
        fields = error if isinstance(error, dict) else {"message": error}
        reason = " ".join(str(fields.get("message", error)).split())[:SHOWN]
        if status := CODES.get(str(fields.get("code"))):
            raise HTTPError(f"the server answered {fields['code']} ({reason})", status)
        raise Transient(f"the judge failed while it answered ({reason})", 200)
