"""A judge on an Ollama server: `GET /api/tags`, `POST /api/show`, `POST /api/chat`.

The protocol is described in Ollama's docs/api.md. A stream is a JSON object a line, the last one with `done: true`.
"""

import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

from components.errors import JudgeError
from components.judging.clients import Unreadable
from components.judging.config import JudgeConfig
from components.judging.rubric import Messages, shipped_rubric
from components.judging.transport import SHOWN, Passing, Refused, Transport, explained

BYTES_PER_TOKEN = 2
"""Fewer than vocabularies need: English takes 4 to 5 bytes a token, Korean 3 to 6, digits 1 to 3."""

FRAME = 64  # tokens that a model's chat template puts around the messages
STEP = 1024
NAMED = 5  # models that an error names

logger = logging.getLogger(__name__)


class Ollama:
    """Asks a model on an Ollama server."""

    start = "start it with `ollama serve`, or set judge.url"

    def __init__(self, config: JudgeConfig, stop: threading.Event | None = None) -> None:
        self._config = config
        self._transport = Transport(config, stop)
        self._missing = f"if it has not got the model, run `ollama pull {config.model}`, otherwise check judge.url"
        self.num_ctx = config.num_ctx

    def look_up(self) -> str | None:
        """Return the digest of the model as `/api/tags` gives it."""
        wanted = full_name(self._config.model)
        models = self._models()
        for model in models:
            if wanted in (full_name(str(model.get(key))) for key in ("name", "model")):
                return str(model.get("digest") or "") or None
        names = [str(model.get("name")) for model in models]
        there = ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "") or "none"
        raise JudgeError(
            f"Ollama at {self._transport.server} has no model {self._config.model!r} (it has: {there}); "
            f"run `ollama pull {self._config.model}`, or set judge.model"
        )

    def prepare(self, longest: int) -> None:
        """Choose one context length that holds the longest messages, since another one loads the model anew."""
        needed = longest // BYTES_PER_TOKEN + self._config.max_tokens + FRAME
        if needed <= self._config.num_ctx:
            return
        rounded = -(-needed // STEP) * STEP
        limit = self._context_length()
        if limit and rounded > limit:
            told = "the longest prompt may take %d tokens, but %s holds %d: it may see less of it"
            logger.warning(told, needed, self._config.model, limit)
            rounded = max(limit, self._config.num_ctx)
        self.num_ctx = rounded

    def ask(self, messages: Messages, seed: int) -> str:
        """Return the content of the model's message."""
        config = self._config
        body = {
            "model": config.model,
            "messages": messages,
            "stream": config.stream,
            "think": False,  # thoughts would use up num_predict
            "format": shipped_rubric().json_schema,
            "options": {
                "seed": seed,
                "temperature": config.sampling_temperature,
                "num_ctx": self.num_ctx,
                "num_predict": config.max_tokens,
            },
        }
        try:
            text = self._transport.post("/api/chat", body, _check_failure)
        except Refused as error:
            raise explained(error, self._missing) from error
        return content_of(text)

    def _models(self) -> list[dict[str, Any]]:
        stranger = JudgeError(
            f"{self._transport.server} answers, but not like Ollama; check judge.url, or set judge.kind"
        )
        try:
            listed = json.loads(self._transport.get("/api/tags"))
        except Refused as error:
            raise (stranger if error.status in (404, 405) else explained(error, self._missing)) from error
        except (ValueError, RecursionError) as error:
            raise stranger from error
        models = listed.get("models") if isinstance(listed, dict) else None
        if not isinstance(models, list):
            raise stranger
        return [model for model in models if isinstance(model, dict)]

    def _context_length(self) -> int | None:
        """Return the longest context of the model, or None where the server does not say."""
        try:
            shown = json.loads(self._transport.post("/api/show", {"model": self._config.model}))
            details = shown["model_info"]
            lengths = [value for name, value in details.items() if name.endswith(".context_length")]
            return int(lengths[0])
        except (Refused, ValueError, RecursionError, TypeError, KeyError, IndexError, AttributeError):
            return None


def full_name(model: str) -> str:
    """Return a model's name with its tag, which is `latest` where none is given."""
    return model if ":" in model.rpartition("/")[2] else f"{model}:latest"


def content_of(text: str) -> str:
    """Return the content of the message in a reply to `/api/chat`, put together if it came in pieces.

    Whether it does is the server's choice in the end: some proxies stream whatever was asked for.

    Raises:
        Unreadable: if the reply is not JSON of that form, or a stream ends before its last object.
    """
    try:
        pieces = list(_objects(text))
        content = "".join(piece["message"]["content"] for piece in pieces if "message" in piece or not piece["done"])
        ended = bool(pieces) and pieces[-1]["done"] is True
    except (ValueError, RecursionError, TypeError, KeyError) as error:
        raise Unreadable(text) from error
    if not ended:
        raise Unreadable(text)
    return content


def _objects(text: str) -> Iterator[Any]:
    """Yield the JSON values of a text, one after the other."""
    decoder, place = json.JSONDecoder(), 0
    while place < len(text.rstrip()):
        value, place = decoder.raw_decode(text, len(text) - len(text[place:].lstrip()))
        yield value


def _check_failure(text: str) -> None:
    """Raise `Passing` where a reply of status 200 ends with an error, as streams do that fail on their way."""
    lines = text.rstrip().split("\n")
    try:
        last = json.loads(lines[-1])
    except (ValueError, RecursionError):
        return
    if isinstance(last, dict) and isinstance(last.get("error"), str):
        raise Passing(f"the judge failed while it answered ({' '.join(last['error'].split())[:SHOWN]})")
