"""The forms of OpenAI's answers: of a chat or a completion, whole or in pieces."""

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from components.generation.continuous import Continuation
from components.serving.http.errors import Refused


@dataclass(frozen=True)
class Form:
    """How answers to one kind of request are written."""

    prefix: str
    """What ids begin with."""
    whole: str
    """The name of an answer."""
    piece: str
    """The name of a piece of one."""
    param: str
    """The field that holds what is answered."""

    @property
    def is_chat(self) -> bool:
        """Whether an answer is a message, and not a text."""
        return self is CHAT


CHAT = Form("chatcmpl", "chat.completion", "chat.completion.chunk", "messages")
COMPLETION = Form("cmpl", "text_completion", "text_completion", "prompt")


class Reply:
    """The answer to one request."""

    def __init__(self, form: Form, model: str, rows: Sequence[Continuation]) -> None:
        self.form, self.rows = form, rows
        self._head = {"id": f"{form.prefix}-{secrets.token_hex(12)}", "created": int(time.time()), "model": model}

    def whole(self, texts: Sequence[str]) -> dict[str, Any]:
        """Return the answer once it is all there."""
        choices = [self._choice(place, text) for place, text in enumerate(texts)]
        return {**self._head, "object": self.form.whole, "choices": choices, "usage": self._usage()}

    def first(self, place: int, with_usage: bool) -> str:
        """Return the piece that an answer begins with."""
        return self._event(place, {"role": "assistant", "content": ""}, "", None, with_usage)

    def piece(self, place: int, text: str, with_usage: bool) -> str:
        """Return a piece of the text."""
        return self._event(place, {"content": text}, text, None, with_usage)

    def last(self, place: int, with_usage: bool) -> str:
        """Return the piece that says why there are no more."""
        return self._event(place, {}, "", finish_reason(self.rows[place]), with_usage)

    def usage_alone(self) -> str:
        """Return the piece that says how many tokens there were."""
        return _event({**self._head, "object": self.form.piece, "choices": [], "usage": self._usage()})

    def done(self) -> str:
        """Return what ends a stream."""
        return "data: [DONE]\n\n"

    def error(self, refused: Refused) -> str:
        """Return what a stream ends with that fails."""
        return _event(refused.body())

    def _choice(self, place: int, text: str) -> dict[str, Any]:
        said = {"message": {"role": "assistant", "content": text}} if self.form.is_chat else {"text": text}
        return {"index": place, **said, "logprobs": None, "finish_reason": finish_reason(self.rows[place])}

    def _event(self, place: int, delta: dict[str, str], text: str, reason: str | None, with_usage: bool) -> str:
        said: dict[str, Any] = {"delta": delta} if self.form.is_chat else {"text": text}
        choice = {"index": place, **said, "logprobs": None, "finish_reason": reason}
        usage = {"usage": None} if with_usage else {}
        return _event({**self._head, "object": self.form.piece, "choices": [choice], **usage})

    def _usage(self) -> dict[str, int]:
        read, written = sum(len(row.prompt) for row in self.rows), sum(len(row.tokens) for row in self.rows)
        return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def finish_reason(row: Continuation) -> str:
    """Return why a row ended, in OpenAI's words."""
    return "stop" if row.stopped in ("end", "marker") else "length"


def _event(tree: dict[str, Any]) -> str:
    return f"data: {json.dumps(tree, ensure_ascii=False)}\n\n"
