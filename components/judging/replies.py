"""What a model's server answers, whichever protocol it speaks: content, thoughts, why it ended, a refusal."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

CUT = ("length", "max_tokens", "model_length")
"""What servers call an end at the limit of tokens, in lower case."""
FILTERED = "content_filter"
THOUGHTS = ("thinking", "reasoning_content", "reasoning")
"""Where a message may hold the model's thoughts: Ollama's name, and two that OpenAI-compatible servers use."""
MOST_TOKENS = 2**31 - 1
"""More than any server counts for one reply."""
MALFORMED = (ValueError, RecursionError, TypeError, KeyError, IndexError, AttributeError)
"""What reading an answer raises that is no JSON, or not of its protocol's form."""


class Unreadable(Exception):
    """The server answered, but not as its protocol says. `reply`: what it answered instead."""

    def __init__(self, reply: str) -> None:
        super().__init__(reply)
        self.reply = reply


@dataclass(frozen=True)
class Reply:
    """One answer of a model."""

    content: str
    """What it says; empty where it only thought, or declined."""
    thinking: str = ""
    finish_reason: str | None = None
    """Why it ended, in the server's word: `done_reason` or `finish_reason`."""
    refusal: str = ""
    """Why the model declines, where the protocol has a field for it."""
    prompt_tokens: int | None = None
    """Tokens of the prompt that the server has counted."""
    completion_tokens: int | None = None
    """Tokens of the reply, thoughts among them, that the server has counted."""
    broken: bool = False
    """Whether `content` is what the server sent instead of a reply in its protocol's form."""

    @property
    def cut(self) -> bool:
        """Whether it ended at the limit of tokens, and not where the model meant to end it."""
        return (self.finish_reason or "").lower() in CUT

    @property
    def declined(self) -> bool:
        """Whether the model, or a filter behind it, did not want to answer."""
        return bool(self.refusal) or (self.finish_reason or "").lower() == FILTERED


def read_ollama(text: str) -> Reply:
    """Return the reply to `/api/chat`, put together if it came in pieces.

    Whether it does is the server's choice in the end: some proxies stream whatever was asked for.

    Raises:
        Unreadable: if the answer is not JSON of that form, or a stream ends before its last object.
    """
    try:
        pieces = list(_objects(text))
        if pieces[-1]["done"] is not True:
            raise ValueError("a stream without its end")
        messages = [piece["message"] for piece in pieces if "message" in piece or not piece["done"]]
        counts = [pieces[-1].get(name) for name in ("prompt_eval_count", "eval_count")]
        return _reply(messages, pieces[-1].get("done_reason"), counts)
    except MALFORMED as error:
        raise Unreadable(text) from error


def read_openai(text: str) -> Reply:
    """Return the reply to `/chat/completions`: its first choice, put together if it came as events.

    Raises:
        Unreadable: if the answer has not that form, or a stream ends before `[DONE]` or a reason why it ended.
    """
    try:
        if text.lstrip().startswith(("data:", "event:", ":")):
            return _streamed(text)
        answer = json.loads(text)
        choice = answer["choices"][0]
        # Some servers leave the message out where a filter has stopped it.
        message = choice["message"] if not choice.get("finish_reason") else choice.get("message") or {}
        return _reply([message], choice.get("finish_reason"), _counts(answer))
    except MALFORMED as error:
        raise Unreadable(text) from error


def _streamed(text: str) -> Reply:
    messages, finish_reason, counts = [], None, [None, None]
    events = [line.removeprefix("data:").strip() for line in text.split("\n") if line.startswith("data:")]
    ended = events[-1] == "[DONE]"
    for event in events[:-1] if ended else events:
        chunk = json.loads(event)
        counts = _counts(chunk) if chunk.get("usage") else counts
        for choice in chunk["choices"][:1]:
            messages.append(choice.get("delta") or {})
            finish_reason = choice.get("finish_reason") or finish_reason
    if not (ended or finish_reason):
        raise ValueError("a stream without its end")
    return _reply(messages, finish_reason, counts)


def _counts(answer: dict[str, Any]) -> list[Any]:
    """Return the tokens of prompt and reply that a server says it has counted."""
    return [(answer.get("usage") or {}).get(name) for name in ("prompt_tokens", "completion_tokens")]


def _reply(messages: Iterable[dict[str, Any]], finish_reason: Any, counts: Iterable[Any]) -> Reply:
    """Return the reply that a message is, or the pieces of one; content is text, or parts, some of them thoughts."""
    asked, said = counts
    content: list[str] = []
    thinking: list[str] = []
    refusal: list[str] = []
    for message in messages:
        parts = message.get("content")
        for part in parts if isinstance(parts, list) else [{"text": parts}]:
            fields = {"text": part} if isinstance(part, str) else part
            thoughts = fields.get("thinking") or fields.get("reasoning") or ""
            # Mistral's thoughts are a list of parts themselves.
            thinking += [thoughts] if isinstance(thoughts, str) else [each["text"] for each in thoughts]
            content.append(fields.get("text") or "")
            refusal.append(fields.get("refusal") or "")
        thinking.append(next((text for name in THOUGHTS if isinstance(text := message.get(name), str)), ""))
        refusal.append(message.get("refusal") or "")
    return Reply(
        "".join(content),
        "".join(thinking),
        str(finish_reason) if finish_reason else None,
        "".join(refusal),
        _count(asked),
        _count(said),
    )


def _count(value: Any) -> int | None:
    """Return a number of tokens; None of what cannot be one."""
    return value if isinstance(value, int) and 0 <= value <= MOST_TOKENS else None


def _objects(text: str) -> Iterator[Any]:
    """Yield the JSON values of a text, one after the other."""
    decoder, place = json.JSONDecoder(), 0
    while place < len(text.rstrip()):
        value, place = decoder.raw_decode(text, len(text) - len(text[place:].lstrip()))
        yield value
