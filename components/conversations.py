"""Conversations: turns of a user and an assistant, with a system message before them or without."""

import json
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import cycle
from typing import Any, NamedTuple

Message = Mapping[str, Any]
"""A turn: its `role` (`system`, `user`, `assistant`), its `content`, a text; `weight` 0 if it is not learnt."""

ROLES = ("system", "user", "assistant")
HISTORY = "history"
"""Column of a table of entries: the turns before the last instruction, as a JSON list; null where there are none."""


class Entry(NamedTuple):
    """What a language model is asked: the user's last turn, what it applies to, and the turns before it."""

    instruction: str
    input: str = ""
    history: Sequence[Message] = ()

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Entry":
        """Return the entry in a table's row."""
        return cls(row["instruction"], row.get("input") or "", read_history(row.get(HISTORY)))

    def shortened(self, fits: Callable[["Entry"], bool]) -> "Entry":
        """Return the entry without as many of its first exchanges as it takes to fit; the system message stays.

        An exchange is a turn of the user with the answer to it, so that what is left begins with the user's. Without
        any exchange it may still not fit.
        """
        start = _turns_from(self.history)
        exchanges = (len(self.history) - start) // 2
        if not exchanges or fits(self):
            return self

        def without(count: int) -> Entry:
            return self._replace(history=[*self.history[:start], *self.history[start + 2 * count :]])

        some = range(1, exchanges)
        return without(1 + bisect_left(some, True, key=lambda count: fits(without(count))))


def as_message(instruction: str, input: str = "") -> str:
    """Return an instruction with its input as one message."""
    return f"{instruction}\n\n{input}" if input else instruction


def read_history(text: str | None) -> list[Message]:
    """Return the turns that `write_history` wrote."""
    turns: list[Message] = json.loads(text) if text else []
    return turns


def write_history(turns: Sequence[Message]) -> str | None:
    """Return turns as the text of a cell; None if there are none."""
    return json.dumps(turns, ensure_ascii=False) if turns else None


def with_history(instructions: Iterable[str | None], histories: Iterable[str | None]) -> list[str]:
    """Return what tells prompts apart: each instruction, after the history that it has."""
    pairs = zip(instructions, histories, strict=True)
    return [f"{history}\n{instruction or ''}" if history else instruction or "" for instruction, history in pairs]


def as_transcript(turns: Iterable[Message]) -> str:
    """Return turns as a reader sees them."""
    return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)


def find_fault(turns: Sequence[Message]) -> str | None:
    """Say what is wrong with a conversation that is to be learnt, None if nothing is.

    Roles are known and alternate from the user's on, a system message only comes first, no turn is empty, and the last
    is the assistant's, and is learnt.
    """
    due = cycle(ROLES[1:])
    for number, turn in enumerate(turns, 1):
        role, content = turn["role"], turn["content"]
        if role not in ROLES:
            return f"turn {number} has the role {role!r}, which is none of {', '.join(ROLES)}"
        if content is None or not content.strip():
            return f"turn {number}, the {role}'s, {'holds no text' if content is None else 'is empty'}"
        if role == "system" and number > 1:
            return f"turn {number} is a system message, which may only come first"
        if role != "system" and role != (expected := next(due)):
            return f"turn {number} is the {role}'s where the {expected}'s is due"
        if turn.get("weight", 1) not in (0, 1):
            return f"turn {number} has the weight {turn['weight']!r:.20}, which is neither 0 nor 1"
    if not turns or turns[-1]["role"] != "assistant":
        there = any(turn["role"] == "assistant" for turn in turns)
        return (
            f"the last turn is the {turns[-1]['role']}'s, so it has no answer"
            if there
            else "no turn is the assistant's"
        )
    return None if is_learnt(turns[-1]) else "no answer is to be learnt: the weight of each is 0"


def is_learnt(turn: Message) -> bool:
    """Say whether a turn of the assistant's is to be learnt, as far as its data says so."""
    return bool(turn.get("weight", 1))


def _turns_from(turns: Sequence[Message]) -> int:
    """Return where the turns begin: after a system message, if there is one."""
    return int(bool(turns) and turns[0]["role"] == "system")
