"""A verdict, and how it is read from what a judge says."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from components.judging.replies import Reply
from components.judging.spending import Usage

Status = Literal["scored", "unparsed"]

LONGEST_REASON = 1_000  # characters; the schema asks for 300
LONGEST_REPLY = 10_000

CUT = "the reply was cut at the limit of tokens"
REFUSED = "the server refused the prompt"
DECLINED = "the judge declined to answer"
THOUGHTS = "there are thoughts, but no answer"
EMPTY = "the reply is empty"
BROKEN = "the server's answer has not the form of its protocol"
NO_VERDICT = "the reply is no verdict"
ADVICE = {CUT: "raise judge.max_tokens", THOUGHTS: "set judge.think=false, or raise judge.max_tokens"}
"""Why there is no score, and what may be done about it."""

TAG = re.compile(r"<(/?)(think|thinking|thought|reasoning)>", re.IGNORECASE)
FENCE = re.compile(r"```(?:json)?\s*(.*)```", re.IGNORECASE | re.DOTALL)
DIGITS = re.compile(r"[0-9]{1,3}")
HIGHEST = 100


@dataclass(frozen=True)
class Verdict:
    """A judge's score from 0 to 100 and its reason; or none, why there is none, and what the judge replied instead."""

    score: float | None
    reason: str = ""
    reply: str = ""
    thinking: str = ""
    finish_reason: str | None = None
    refusal: str = ""
    prompt_tokens: int | None = None
    requests: int | None = None
    """What it took to get it, with `tokens_in`, `tokens_out` and `estimated` (`spending.Usage`); None if unknown."""
    tokens_in: int | None = None
    tokens_out: int | None = None
    estimated: int | None = None

    @property
    def usage(self) -> Usage:
        """What it took; nothing where that is not known."""
        return Usage(self.requests or 0, self.tokens_in or 0, self.tokens_out or 0, self.estimated or 0)

    @property
    def status(self) -> Status:
        """Whether there is a score."""
        return "unparsed" if self.score is None else "scored"


Read = Callable[[str], Verdict | None]
"""Finds the verdict in what a judge says, if there is one."""


def scored(score: float, reason: str) -> Verdict:
    """Return a verdict with a score."""
    return Verdict(score, _line(reason))


def unparsed(reply: str, why: str = NO_VERDICT) -> Verdict:
    """Return a verdict without a score, which keeps the reply and says why."""
    return Verdict(None, _line(why), _storable(reply))


def verdict_of(reply: Reply, read: Read) -> Verdict:
    """Return the verdict that a judge's reply is, or one without a score that says why it is none.

    A reply that was cut at its limit, or that came with a refusal, is none, whatever it holds: its end is missing.
    """
    whole = not (reply.cut or reply.declined or reply.broken)
    found = read(reply.content) if whole else None
    return Verdict(
        *((found.score, found.reason, "") if found else (None, _line(_why(reply)), _storable(reply.content))),
        thinking=_storable(reply.thinking),
        finish_reason=reply.finish_reason and _line(reply.finish_reason),
        refusal=_storable(reply.refusal),
        prompt_tokens=reply.prompt_tokens,
    )


def read_verdict(reply: str) -> Verdict | None:
    """Return the verdict that a reply is, or None if it is none.

    The reply is one JSON object with a score, alone, or after a thinking block, or in a code fence. An object that
    stands inside of prose is no verdict: it may be quoted from the response, or a draft. The score is a whole number
    from 0 to 100, where `85.0`, `1e2` and `"85"` are whole numbers too; `150`, `85.5`, `"eighty"`, `true`, `NaN` and
    `null` are not. No key may stand twice. A reason may be missing, since nothing is computed from it, but must be a
    string where there is one.
    """
    if (found := read_object(reply)) is None:
        return None
    score, reason = _whole_number(found.get("score")), found.get("reason")
    if score is None or not 0 <= score <= HIGHEST or not isinstance(reason, str | None):
        return None
    return scored(score, reason or "")


def read_object(reply: str) -> dict[str, Any] | None:
    """Return the JSON object that a reply is, alone, after a thinking block or in a code fence; else None."""
    answer = _after_thinking(reply.strip())
    if answer is None:
        return None
    fenced = FENCE.fullmatch(answer)
    try:
        found = json.loads(fenced[1] if fenced else answer, object_pairs_hook=_unambiguous)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _after_thinking(text: str) -> str | None:
    """Return what follows a thinking block at the start of a text; None if the block does not end.

    A block ends where as many tags have been closed as were opened. Tags further on are left where they are, so that
    what holds them is no JSON.
    """
    if not (first := TAG.match(text)) or first[1]:
        return text
    depth = 0
    for tag in TAG.finditer(text):
        if tag[2].lower() == first[2].lower():
            depth += -1 if tag[1] else 1
        if depth == 0:
            return text[tag.end() :].strip()
    return None


def _whole_number(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and DIGITS.fullmatch(value):
        return int(value)
    return value if isinstance(value, int) else None


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = {name.strip().casefold() for name, _ in pairs}
    if len(names) < len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _why(reply: Reply) -> str:
    if reply.broken:
        return BROKEN
    if reply.declined:
        return f"{DECLINED}: {reply.refusal or reply.finish_reason}"
    if reply.cut:
        return CUT
    if reply.content.strip():
        return NO_VERDICT
    return THOUGHTS if reply.thinking.strip() else EMPTY


def _line(text: str) -> str:
    return _storable(" ".join(text.split()))[:LONGEST_REASON]


def _storable(text: str) -> str:
    """Return a text without the halves of characters that JSON's escapes can hold and UTF-8 cannot, cut if long."""
    return text[:LONGEST_REPLY].encode("utf-8", "replace").decode("utf-8")
