"""Files of conversations, which are not read yet: how to make instructions of them."""

from collections.abc import Container
from typing import NamedTuple


class _Chat(NamedTuple):
    role: str
    text: str
    user: str
    assistant: str


CHATS = {
    "messages": _Chat("role", "content", "user", "assistant"),
    "conversations": _Chat("from", "value", "human", "gpt"),
}
"""The columns that hold a conversation, as a list of turns, and what a turn is made of: OpenAI's format, ShareGPT's."""


def chat_advice(columns: Container[object]) -> str | None:
    """Return what to do with a file that has one of the columns of a conversation, None if it has none."""
    name = next((name for name in CHATS if name in columns), None)
    if name is None:
        return None
    chat = CHATS[name]
    turn = f'first(.{name}[] | select(.{chat.role} == "%s") | .{chat.text})'
    return (
        f"{name!r} holds conversations, which Gradus does not read yet: make an instruction and an output of each, by "
        f"jq -c '{{instruction: {turn % chat.user}, output: {turn % chat.assistant}}}' chat.jsonl > entries.jsonl"
    )
