"""A question and the verdict on it: asked again where the reply cannot be read, with more room where it was cut."""

import threading
from dataclasses import dataclass

from components.core.errors import JudgeError
from components.core.http_client import HTTPError
from components.judging.clients import Client
from components.judging.replies import Reply, Unreadable
from components.judging.rubric import shipped_rubric
from components.judging.transport import FORBIDDEN, NOT_THIS_PROMPT, explained
from components.judging.verdicts import REFUSED, Verdict, unparsed, verdict_of

MORE_ROOM = 4
"""How many times as many tokens a reply gets that was cut."""
MOST_ROOM = MORE_ROOM**2
PLAIN = {"instruction": "Say yes.", "input": "", "reference": "yes", "response": "yes"}
"""What no server has a reason to refuse: neither long nor offensive."""


@dataclass(frozen=True)
class Question:
    """What a judge is asked: the user's message, the seed, and the key under which the verdict is kept."""

    key: str
    text: str
    seed: int


class Exchange:
    """Asks questions, from any thread, and tells a prompt that is refused from a server that refuses every prompt."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._answered = False
        self._lock = threading.Lock()

    def verdict(self, question: Question) -> Verdict:
        """Return the verdict on a question, after four requests at most.

        Raises:
            JudgeError: if the server refuses every prompt, or as the client does.
        """
        again, room, last = False, 1, None
        while True:
            try:
                last = verdict_of(reply := self._ask(question.text, question.seed, again, room))
            except HTTPError as error:
                self._check_server(error, question.seed)
                return last or unparsed("", f"{REFUSED}: {error}")
            if reply.cut and room < MOST_ROOM:
                room *= MORE_ROOM
            elif last.score is not None or reply.cut or again:
                return last
            else:
                again = True

    def _ask(self, text: str, seed: int, again: bool = False, room: int = 1) -> Reply:
        try:
            reply = self._client.ask(shipped_rubric().messages(text, again), seed, room)
        except Unreadable as error:
            reply = Reply(error.reply, broken=True)
        self._answered = True
        return reply

    def _check_server(self, refusal: HTTPError, seed: int) -> None:
        """Raise JudgeError unless it is one prompt that is refused: nothing is answered, a plain one is refused too."""
        if refusal.status not in (*NOT_THIS_PROMPT, FORBIDDEN):
            raise explained(refusal, self._client.missing) from refusal
        with self._lock:
            if self._answered:
                return
            try:
                self._ask(shipped_rubric().question(PLAIN), seed)
            except HTTPError as error:
                if error.status not in NOT_THIS_PROMPT:
                    raise explained(error, self._client.missing) from error
                raise JudgeError(
                    f"{error}; it refuses every prompt, so it is the request that it does not like: check "
                    "judge.model and judge.think; judge.extra adds, renames or drops fields, as in "
                    "judge.extra='{max_completion_tokens: 300, max_tokens: null}'"
                ) from refusal
