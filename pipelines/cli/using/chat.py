"""`gradus respond --chat`: a conversation with a language model, on a terminal or through a pipe."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from components.core.errors import ConfigError
from pipelines.cli.console import say

if TYPE_CHECKING:
    from components.generation.config import GenerationConfig
    from components.serving.language_model import Responder


def talk(responder: "Responder", config: "GenerationConfig", system: str | None) -> None:
    """Answer line after line, each with what was said before it.

    Raises:
        ConfigError: if the model was not taught to talk.
    """
    from components.chat import ChatTemplate
    from components.serving.language_model import Conversation

    if not isinstance(responder.card.template, ChatTemplate):
        raise ConfigError(
            "--chat: the model was trained on single entries; train one with prompt.template=chat, or leave --chat out"
        )
    conversation, unseen = Conversation(responder, config, system), 0
    for line in _lines():
        if line == "/reset":
            conversation, unseen = Conversation(responder, config, system), 0
            say("gradus: the conversation begins anew")
            continue
        try:
            left_out, pieces = conversation.ask(line)
        except ConfigError as error:
            say(f"gradus: {error}", style="yellow")
            continue
        if left_out > unseen:
            say(f"gradus: the first {left_out} turns are no longer seen: the context of the model is full")
            unseen = left_out
        _show(pieces)


def _lines() -> Iterator[str]:
    prompt = "> " if sys.stdin.isatty() else ""
    while True:
        try:
            line = input(prompt).strip()
        except EOFError:
            return
        except UnicodeDecodeError as error:
            raise ConfigError(f"standard input is not {error.encoding}: {error.reason}; convert it first") from error
        if line in ("", "/exit"):
            return
        yield line


def _show(pieces: Iterator[str]) -> None:
    from pipelines.shown import harmless

    shown = harmless if sys.stdout.isatty() else str
    for piece in pieces:
        sys.stdout.write(shown(piece))
        sys.stdout.flush()
    typer.echo()
