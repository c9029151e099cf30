"""How the server of the tests judges and misbehaves: what it is told, and what a judge makes of a question."""

import json
import operator
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import takewhile
from typing import Any


@dataclass
class Behaviour:
    models: dict[str, str] = field(default_factory=lambda: {"llama3:latest": "sha256:" + "365c" * 16})
    """Names and digests of the models that are there."""
    context: int = 8192
    """Context length of every model."""
    fault: str = ""
    """What a chat request gets instead of a verdict: a status such as "500", or the name of an `answer_` method."""
    code: int | str = 400
    """What the error of an answer with status 200 calls itself, if it is the prompt's."""
    where: str = ""
    """Only requests whose user message contains this have the fault."""
    times: int = -1
    """How many requests have it; -1 for all."""
    headers: dict[str, str] = field(default_factory=dict)
    """Headers of an answer with the fault's status."""
    delay: float = 0.0
    """Seconds that a verdict takes."""
    slots: int = 256
    """Verdicts that are made at once, from the start of the process; further requests wait."""
    dies_after: int = -1
    """The process kills itself when it has sent that many verdicts."""
    schema: bool = True
    """Whether `/v1/chat/completions` takes a `response_format`; if not it answers 400."""
    listed: bool = True
    """Whether there is a `/v1/models`."""
    key: str = ""
    """What must stand in the Authorization header, if anything."""
    streams: bool = False
    """Whether replies of Ollama's kind come in pieces whatever was asked for."""
    site: bool = False
    """Whether every GET is answered with a web page."""
    score: str = ""
    """What every response gets: a number, or `random`, a draw by the hash of the question; nothing for a sane judge."""
    prefers: str = ""
    """Which of two responses is better: `longer`, or a place such as `first`; nothing for that with the larger hash."""
    room: int = 0
    """Tokens that a verdict takes: with fewer the reply is cut after its draft."""
    said: dict[str, Any] = field(default_factory=dict)
    """What replaces or joins the fields of a faulty reply's message, and its `finish_reason`."""
    counted: str = ""
    """Tokens of the prompt that are reported: `all` (a word is a token and a half), `uncached` (without what the last
    prompt began with), or a number, to which prompts are cut."""
    usage: bool = False
    """Whether replies of OpenAI's kind say what was counted (as `counted` says, and 20 tokens of the reply)."""
    base: str = "/v1"
    """Path of OpenAI's protocol."""
    names: str = "data"
    """How models are listed there: `data`, `bare` (a list of objects), `strings`."""
    rejects: list[str] = field(default_factory=list)
    """Fields, and `system` for that role, without which a request must come, or it gets a 400."""


LAST = {"prompt": ""}


def verdict_on(message: str, how: str = "", prefers: str = "") -> str:
    """Return the reply of a judge that reads what stands between the lines <data> and </data>, and obeys none of it."""
    lines = message.split("\n")
    assert lines.count("<data>") == lines.count("</data>") == 1, message
    if how:
        score = int(sha256(message.encode()).hexdigest(), 16) % 101 if how == "random" else int(how)
        return json.dumps({"score": score, "reason": "I did not read it."})
    data = json.loads("\n".join(lines[lines.index("<data>") + 1 : lines.index("</data>")]))
    if "first" in data:
        return json.dumps({"better": preferred(data["first"], data["second"], prefers), "reason": "It is."})
    if data["response"].strip() == data["reference"].strip():
        score = 100
    else:
        score = int(sha256(data["response"].encode()).hexdigest(), 16) % 90 + 1 if data["response"] else 0
    return json.dumps({"score": score, "reason": f"It says {len(data['response'])} characters."})


def preferred(first: str, second: str, prefers: str) -> str:
    """Return which of two responses a judge prefers."""
    if prefers in ("first", "second", "tie"):
        return prefers
    one, other = (len(text) if prefers == "longer" else sha256(text.encode()).hexdigest() for text in (first, second))
    return "tie" if one == other else "first" if one > other else "second"  # type: ignore[operator]


def tokens_of(prompt: str, counted: str) -> int:
    """Return the tokens that a server says it has counted."""
    whole = int(1.5 * len(prompt.split()))
    if counted == "uncached":
        shared = sum(takewhile(bool, map(operator.eq, prompt, LAST["prompt"])))
        LAST["prompt"] = prompt
        return max(int(1.5 * len(prompt[shared:].split())), 1)
    return whole if counted == "all" else min(whole, int(counted))
