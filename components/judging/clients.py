"""What every judge that is a language model can do, and which one a config means."""

import threading
from typing import Protocol

from components.judging.config import JudgeConfig
from components.judging.rubric import Messages


class Unreadable(Exception):
    """The server answered, but not as its protocol says. `reply`: what it said instead."""

    def __init__(self, reply: str) -> None:
        super().__init__(reply)
        self.reply = reply


class Client(Protocol):
    """A language model on a server, asked for verdicts from several threads at once."""

    start: str
    """What a person does when the server is not there, for an error's end."""

    def look_up(self) -> str | None:
        """Return the digest of the model, or None where the protocol knows none.

        Raises:
            JudgeError: if the server has not got the model, or is none that speaks the protocol.
            JudgeUnreachable: if it is down.
        """

    def prepare(self, longest: int) -> None:
        """Be told the bytes of the longest messages that will be asked about, before the first `ask`."""

    def ask(self, messages: Messages, seed: int) -> str:
        """Return what the model says.

        Raises:
            Unreadable: if the server's answer is not what its protocol promises.
            JudgeError: if the server refuses.
            JudgeUnreachable: if it went away, stalls or keeps failing.
        """


def connect(config: JudgeConfig, stop: threading.Event | None = None) -> Client:
    """Return the client of a judge that is a language model; nothing is sent yet."""
    from components.judging.ollama import Ollama
    from components.judging.openai import OpenAI

    return Ollama(config, stop) if config.kind == "ollama" else OpenAI(config, stop)
