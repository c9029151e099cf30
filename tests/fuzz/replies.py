"""What judges and their servers say."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from components.judging.cache import Cache
from components.judging.pairwise import read_preference
from components.judging.replies import Reply, Unreadable, read_ollama, read_openai
from components.judging.verdicts import read_verdict, verdict_of
from tests.fuzz.targets import Target

VERDICT = '{"score": 85, "reason": "good"}'
VERDICTS = (
    VERDICT, f"<think>hm</think>\n{VERDICT}", f"```json\n{VERDICT}\n```",
    '{"better": "first", "reason": ""}', '{"score": "7"}'
)  # fmt: skip
OLLAMA = {
    "model": "m", "done": True, "done_reason": "stop", "prompt_eval_count": 9, "eval_count": 5,
    "message": {"role": "assistant", "content": VERDICT, "thinking": "hm"},
}  # fmt: skip
OPENAI = {
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": VERDICT, "refusal": None}}
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 5},
}
PARTS = {"choices": [{"finish_reason": "stop", "message": {"content": [{"type": "text", "text": VERDICT}]}}]}
PIECE = {"choices": [{"delta": {"content": VERDICT}, "finish_reason": None}]}
STREAM = f"data: {json.dumps(PIECE)}\n\ndata: [DONE]\n"


@cache
def kept() -> Cache:
    """Return a place for verdicts, of this process."""
    return Cache(Path(mkdtemp()) / "verdicts.sqlite")


def verdict(_folder: Path, data: bytes) -> object:
    """Read the verdict in what a judge says, and keep it."""
    text = data.decode("utf-8", "replace")
    return [keep(Reply(text), read) for read in (read_verdict, read_preference)]


def keep(reply: Reply, read: Callable[[str], object] = read_verdict) -> object:
    made = verdict_of(reply, read)  # type: ignore[arg-type]
    assert made.score is None or 0 <= made.score <= 100
    kept().forget(["key"])
    assert kept().keep({"key": made})["key"] == made
    return made


def answer(read: Callable[[str], Reply]) -> Callable[[Path, bytes], object]:
    """Return what reads a server's answer, and the verdict in it."""

    def parse(_folder: Path, data: bytes) -> object:
        try:
            return keep(read(data.decode("utf-8", "replace")))
        except Unreadable:
            return None

    return parse


TARGETS = {
    "verdict": Target(verdict, lambda: [text.encode() for text in VERDICTS]),
    "ollama": Target(answer(read_ollama), lambda: [json.dumps(OLLAMA).encode(), json.dumps(OLLAMA).encode() * 2]),
    "openai": Target(
        answer(read_openai), lambda: [*(json.dumps(each).encode() for each in (OPENAI, PARTS)), STREAM.encode()]
    ),
}
