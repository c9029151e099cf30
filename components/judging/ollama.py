"""A judge on an Ollama server: `GET /api/tags`, `POST /api/show`, `POST /api/chat`.

The protocol is described in Ollama's docs/api.md. A stream is a JSON object a line, the last one with `done: true`.
"""

import json
import logging
import threading
from typing import Any

from components.core.errors import JudgeError
from components.core.http_client import HTTPError, Transient
from components.judging.clients import Client, completed, full_name
from components.judging.config import JudgeConfig
from components.judging.replies import MALFORMED, Reply, read_ollama
from components.judging.rubric import Messages
from components.judging.transport import SHOWN, explained

BYTES_PER_TOKEN = 2
"""Fewer than vocabularies need: English takes 4 to 5 bytes a token, Korean 3 to 6, digits 1 to 3."""

FRAME = 64  # tokens that a model's chat template puts around the messages
STEP = 1024

logger = logging.getLogger(__name__)


class Ollama(Client):
    """Asks a model on an Ollama server."""

    start = "start it with `ollama serve`, or set judge.url"

    def __init__(self, config: JudgeConfig, stop: threading.Event | None = None) -> None:
        super().__init__(config, stop)
        self.missing = f"if it has not got the model, run `ollama pull {config.model}`, otherwise check judge.url"
        self._lock = threading.Lock()
        self.num_ctx = config.num_ctx

    def look_up(self) -> str | None:
        """Return the digest of the model as `/api/tags` gives it."""
        wanted = full_name(self._config.model)
        models = self._models()
        for model in models:
            if wanted in (full_name(str(model.get(key))) for key in ("name", "model")):
                return str(model.get("digest") or "") or None
        names = _names(models)
        todo = f"run `ollama pull {self._config.model}`, or set judge.model"
        raise self._lacks_model(f"Ollama at {self._transport.server}", names, todo)

    def model_names(self) -> list[str]:
        """Return what the server's models are called."""
        return _names(self._models())

    def prepare(self, longest: int, room: int = 1) -> None:
        """Choose one context length that holds the longest messages and a reply: another one loads the model anew."""
        needed = longest // BYTES_PER_TOKEN + self._config.max_tokens * room + FRAME
        with self._lock:
            if needed <= self.num_ctx:
                return
            rounded = -(-needed // STEP) * STEP
            limit = self._context_length()
            if limit and rounded > limit:
                if room == 1:
                    warning = "the longest prompt may take %d tokens, but %s holds %d: it may see less of it"
                    logger.warning(warning, needed, self._config.model, limit)
                rounded = max(limit, self.num_ctx)
            self.num_ctx = rounded

    def ask(self, messages: Messages, seed: int, room: int = 1) -> Reply:
        """Return the model's message; where more room is asked for, the context grows with it for all that follow."""
        config = self._config
        if room > 1:
            self.prepare(sum(len(message["content"].encode()) for message in messages), room)
        body = {
            "model": config.model,
            "messages": messages,
            "stream": config.stream,
            "think": config.think,
            "format": self.schema,
            "options": {
                "seed": seed,
                "temperature": config.sampling_temperature,
                "num_ctx": self.num_ctx,
                "num_predict": config.max_tokens,
            },
        }
        return read_ollama(self._transport.post("/api/chat", completed(body, config.extra, room), _check_failure))

    def _models(self) -> list[dict[str, Any]]:
        stranger = JudgeError(
            f"{self._transport.server} answers, but not like Ollama; check judge.url, or set judge.kind"
        )
        try:
            models = json.loads(self._transport.get("/api/tags"))["models"]
            return [model for model in models if isinstance(model, dict)]
        except HTTPError as error:
            raise (stranger if error.status in (404, 405) else explained(error, self.missing)) from error
        except MALFORMED as error:
            raise stranger from error

    def _context_length(self) -> int | None:
        """Return the longest context of the model, or None where the server does not say."""
        try:
            details = json.loads(self._transport.post("/api/show", {"model": self._config.model}))["model_info"]
            return int(next(value for name, value in details.items() if name.endswith(".context_length")))
        except (HTTPError, StopIteration, *MALFORMED):
            return None


def _names(models: list[dict[str, Any]]) -> list[str]:
    return [str(model.get("name")) for model in models]


def _check_failure(text: str) -> None:
    """Raise `Transient` where a reply of status 200 ends with an error, as failing streams do."""
    try:
        error = json.loads(text.rstrip().rpartition("\n")[2])["error"]
    except MALFORMED:
        return
    if isinstance(error, str):
        raise Transient(f"the judge failed while it answered ({' '.join(error.split())[:SHOWN]})", 200)
