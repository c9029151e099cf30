"""What a model's server said, whichever protocol it speaks: content, thoughts, why it ended, a refusal."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

CUT = ("length", "max_tokens", "model_length")
"""What servers call an end at the limit of tokens, in lower case."""
FILTERED = "content_filter"
THOUGHTS = ("thinking", "reasoning_content", "reasoning")
"""Where a message may hold the model's thoughts: Ollama's name, and two that OpenAI-compatible servers use."""


class Unreadable(Exception):
    """The server answered, but not as its protocol says. `reply`: what it said instead."""

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


@dataclass
class _Gathered:
    """A message, or the pieces of one."""

    content: list[str] = field(default_factory=list)
    thinking: list[str] = field(default_factory=list)
    refusal: list[str] = field(default_factory=list)

    def add(self, message: dict[str, Any]) -> None:
        self._add_content(message.get("content"))
        self.thinking.append(next((text for name in THOUGHTS if isinstance(text := message.get(name), str)), ""))
        self.refusal.append(message.get("refusal") or "")

    def _add_content(self, content: Any) -> None:
        """Add a text, or a list of parts, of which some may be thoughts."""
        if not isinstance(content, list):
            self.content.append(content or "")
            return
        for part in [{"text": part} if isinstance(part, str) else part for part in content]:
            thoughts = part.get("thinking") or part.get("reasoning") or ""
            # Mistral's thoughts are a list of parts themselves.
            self.thinking += [thoughts] if isinstance(thoughts, str) else [each["text"] for each in thoughts]
            self.content.append(part.get("text") or "")
            self.refusal.append(part.get("refusal") or "")

    def reply(self, finish_reason: Any, prompt_tokens: Any) -> Reply:
        return Reply(
            "".join(self.content),
            "".join(self.thinking),
            str(finish_reason) if finish_reason else None,
            "".join(self.refusal),
            prompt_tokens if isinstance(prompt_tokens, int) else None,
        )


def read_ollama(text: str) -> Reply:
    """Return the reply to `/api/chat`, put together if it came in pieces.

    Whether it does is the server's choice in the end: some proxies stream whatever was asked for.

    Raises:
        Unreadable: if the answer is not JSON of that form, or a stream ends before its last object.
    """
    gathered = _Gathered()
    try:
        pieces = list(_objects(text))
        for piece in pieces:
            if "message" in piece or not piece["done"]:
                gathered.add(piece["message"])
        last = pieces[-1] if pieces else {"done": False}
        if last["done"] is True:
            return gathered.reply(last.get("done_reason"), last.get("prompt_eval_count"))
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
        raise Unreadable(text) from error
    raise Unreadable(text)


def read_openai(text: str) -> Reply:
    """Return the reply to `/chat/completions`: its first choice, put together if it came as events.

    Raises:
        Unreadable: if the answer has not that form, or a stream ends before `[DONE]` or a reason why it ended.
    """
    try:
        streamed = text.lstrip().startswith(("data:", "event:", ":"))
        reply = _streamed(text) if streamed else _whole(json.loads(text))
    except (ValueError, RecursionError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise Unreadable(text) from error
    if reply is None:
        raise Unreadable(text)
    return reply


def _whole(told: Any) -> Reply:
    choice, gathered = told["choices"][0], _Gathered()
    # Some servers leave the message out where a filter has stopped it.
    gathered.add(choice["message"] if not choice.get("finish_reason") else choice.get("message") or {})
    return gathered.reply(choice.get("finish_reason"), (told.get("usage") or {}).get("prompt_tokens"))


def _streamed(text: str) -> Reply | None:
    gathered, finish_reason, prompt_tokens = _Gathered(), None, None
    events = [line.removeprefix("data:").strip() for line in text.split("\n") if line.startswith("data:")]
    ended = bool(events) and events[-1] == "[DONE]"
    for event in events[:-1] if ended else events:
        told = json.loads(event)
        prompt_tokens = (told.get("usage") or {}).get("prompt_tokens", prompt_tokens)
        for choice in told["choices"][:1]:
            gathered.add(choice.get("delta") or {})
            finish_reason = choice.get("finish_reason") or finish_reason
    return gathered.reply(finish_reason, prompt_tokens) if ended or finish_reason else None


def _objects(text: str) -> Iterator[Any]:
    """Yield the JSON values of a text, one after the other."""
    decoder, place = json.JSONDecoder(), 0
    while place < len(text.rstrip()):
        value, place = decoder.raw_decode(text, len(text) - len(text[place:].lstrip()))
        yield value
