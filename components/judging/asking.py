"""Asking a judge many questions at once, and keeping each verdict as soon as it is there.

A question is asked again where the reply cannot be read, with more room where it was cut.
"""

import queue
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace

from components.core.errors import JudgeError
from components.core.http_client import HTTPError
from components.judging.cache import Cache
from components.judging.clients import Client
from components.judging.config import JudgeConfig
from components.judging.replies import Reply, Unreadable
from components.judging.rubric import Rubric
from components.judging.spending import LimitReached, Spending, usage_of_reply
from components.judging.transport import FORBIDDEN, NOT_THIS_PROMPT, explained
from components.judging.verdicts import ADVICE, REFUSED, Read, Verdict, unparsed, verdict_of

GRACE = 5.0
"""Seconds that requests under way get to come to an end after one of them has failed."""

AHEAD = 16
"""Questions that are looked up at once before they are asked: a few that another process asks too, at most."""

MORE_ROOM = 4
"""How many times as many tokens a reply gets that was cut."""
MOST_ROOM = MORE_ROOM**2
PLAIN = {"instruction": "Say yes.", "input": "", "reference": "yes", "response": "yes"}
"""What no server has a reason to refuse: neither long nor offensive."""
OWNERS = {
    "model": "the model's responses",
    "start": "the starting model's responses",
    "reference": "the references",
    "pair": "pairs of responses",
}


@dataclass(frozen=True)
class Question:
    """What a judge is asked: the user's message, the seed, and the key under which the verdict is kept."""

    key: str
    text: str
    seed: int


@dataclass(frozen=True)
class Form:
    """What a judge is told, and how the verdict is found in what it says."""

    rubric: Rubric
    read: Read


def ask_all(
    questions: list[Question],
    client: Client,
    spending: Spending,
    cache: Cache,
    concurrency: int,
    stop: threading.Event,
    report: Callable[[str, Verdict], bool],
    meanwhile: Iterator[object],
    form: Form,
) -> dict[str, Verdict]:
    """Ask every question, `concurrency` at a time, in any order; return the verdicts that are kept, by key.

    Whoever has asked a question calls `report` with key and verdict, one at a time, and asks another one only then. So
    once that returns False no other question is begun, and those under way, fewer than `concurrency`, are the last.

    This thread alone writes to the cache, all verdicts that have arrived at once: a commit for each would make the
    others wait, and the judge with them. After each verdict it takes a step of `meanwhile`, which is work of the
    caller's that the judge need not wait for; steps should be short.

    `stop` is the client's: it is set as soon as one question fails, and then no other is begun. What is under way has
    a few seconds to arrive.

    Raises:
        JudgeError: as the client does, or if verdicts cannot be kept.
    """
    # Two processes with the same questions that begin somewhere share them, and hardly ever ask one both.
    start = random.Random().randrange(len(questions)) if questions else 0
    todo = _looked_up(questions[start:] + questions[:start], cache)
    asking = _Asking(todo, Exchange(client, spending, form), cache, stop, report)
    # Daemons, which no executor has: an interpreter that is told to leave does not wait for a judge's last reply.
    workers = [threading.Thread(target=asking.work, daemon=True) for _ in questions[:concurrency]]
    try:
        for worker in workers:
            worker.start()
        while len(asking.kept) < len(questions) and not stop.is_set():
            for _ in range(asking.keep_next()):
                next(meanwhile, None)
        # At a limit nothing is wrong with the server, and what is under way has been paid for.
        paid = any(isinstance(failure, LimitReached) for failure in asking.failures)
        deadline = time.monotonic() + GRACE
        for worker in workers:
            worker.join(None if paid else max(deadline - time.monotonic(), 0))
    finally:
        asking.close()  # an interruption costs no verdict that has arrived
    if asking.failures and asking.going:  # `stop` makes some of those under way fail
        raise asking.failures[0]
    return asking.kept


class _Asking:
    """What the threads that ask and the one that keeps verdicts have in common."""

    def __init__(
        self,
        todo: Iterator[tuple[Question, Verdict | None]],
        exchange: "Exchange",
        cache: Cache,
        stop: threading.Event,
        report: Callable[[str, Verdict], bool],
    ) -> None:
        self.kept: dict[str, Verdict] = {}
        self.failures: list[BaseException] = []
        self.going = True
        """Whether `report` has wanted more so far."""
        self._todo, self._exchange, self._cache, self._stop, self._report = todo, exchange, cache, stop, report
        self._lock = threading.Lock()
        self._arrived: queue.SimpleQueue[tuple[str, Verdict] | BaseException] = queue.SimpleQueue()
        self._over = False

    def work(self) -> None:
        """Ask one question after the other, until there is none, or no more is wanted."""
        try:
            while not self._stop.is_set():
                with self._lock:
                    question, verdict = next(self._todo, (None, None))
                if question is None:
                    return
                self._hand_over(question.key, verdict or self._exchange.verdict(question))
        except BaseException as error:
            self._stop.set()
            self._arrived.put(error)
            if not isinstance(error, JudgeError):
                raise

    def _hand_over(self, key: str, verdict: Verdict) -> None:
        with self._lock:
            if self._over:
                return
            self.going = self._report(key, verdict) and self.going
            if not self.going:
                self._stop.set()
            self._arrived.put((key, verdict))

    def keep_next(self) -> int:
        """Wait for what arrives next; commit it and what has arrived by then; return how many verdicts there were."""
        return self._keep([self._arrived.get()])

    def close(self) -> None:
        """Begin no other question, and commit what has arrived; what arrives later is dropped."""
        self._stop.set()
        with self._lock:
            self._over = True
        self._keep([])

    def _keep(self, found: list[tuple[str, Verdict] | BaseException]) -> int:
        while not self._arrived.empty():
            found.append(self._arrived.get())
        self.failures += [each for each in found if isinstance(each, BaseException)]
        made = dict(each for each in found if not isinstance(each, BaseException))
        self.kept |= self._cache.keep(made) if made else {}
        return len(made)


def _looked_up(questions: list[Question], cache: Cache) -> Iterator[tuple[Question, Verdict | None]]:
    """Yield questions, each with the verdict that another process has made of it in the meantime, if any."""
    for start in range(0, len(questions), AHEAD):
        batch = questions[start : start + AHEAD]
        found = cache.find([question.key for question in batch])
        yield from ((question, found.get(question.key)) for question in batch)


class Exchange:
    """Asks questions, from any thread, and tells a prompt that is refused from a server that refuses every prompt."""

    def __init__(self, client: Client, spending: Spending, form: Form) -> None:
        self._client, self._spending = client, spending
        self._form = form
        if isinstance(client, Client):
            client.count_requests(spending.send)
        self._answered = False
        self._lock = threading.Lock()

    def verdict(self, question: Question) -> Verdict:
        """Return the verdict on a question, after four requests at most.

        Raises:
            JudgeError: if the server refuses every prompt, or as the client does.
            LimitReached: if no more may be spent.
        """
        self._spending.taken()
        verdict = self._verdict(question)
        return replace(verdict, **asdict(self._spending.taken()))

    def _verdict(self, question: Question) -> Verdict:
        again, room, last = False, 1, None
        while True:
            try:
                reply = self._ask(question.text, question.seed, again, room)
                last = verdict_of(reply, self._form.read)
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
        messages = self._form.rubric.messages(text, again)
        with self._spending.reserved(messages):
            if not isinstance(self._client, Client):  # a judge of somebody's own, which does not count
                self._spending.send()
            try:
                reply = self._client.ask(messages, seed, room)
            except Unreadable as error:
                reply = Reply(error.reply, broken=True)
            self._spending.add(usage_of_reply(messages, reply))
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
                self._ask(self._form.rubric.question(PLAIN), seed)
            except HTTPError as error:
                if error.status not in NOT_THIS_PROMPT:
                    raise explained(error, self._client.missing) from error
                raise JudgeError(
                    f"{error}; it refuses every prompt, so it is the request that it does not like: check "
                    "judge.model and judge.think; judge.extra adds, renames or drops fields, as in "
                    "judge.extra='{max_completion_tokens: 300, max_tokens: null}'"
                ) from refusal


class Limits:
    """Counts verdicts without a score, of the model's, the start's and the references' each, as they come."""

    def __init__(self, config: JudgeConfig, asked: Iterable[tuple[str, list[Question]]]) -> None:
        """Take what is asked about whose responses. One question may stand for several verdicts."""
        self._config = config
        self._unparsed: Counter[str] = Counter()
        self._total: Counter[str] = Counter()
        self._owners: dict[str, Counter[str]] = {}
        for of, questions in asked:
            self._total[of] += len(questions)
            for question in questions:
                self._owners.setdefault(question.key, Counter())[of] += 1

    def add(self, key: str, verdict: Verdict) -> None:
        """Count a verdict."""
        if verdict.score is None:
            self._unparsed += self._owners[key]

    @property
    def exceeded(self) -> str | None:
        """Whose verdicts are missing too often by now, whatever else comes."""
        allowed = self._config.max_unparsed
        return next((of for of in OWNERS if self._unparsed[of] > allowed * self._total[of]), None)

    def failure(self, verdicts: Iterable[Verdict], seen: str) -> JudgeError | None:
        """Return what to tell the user if too many are missing; the replies stand in the file `seen`."""
        if (of := self.exceeded) is None:
            return None
        [(why, _)] = why_unparsed(verdicts).most_common(1)
        return JudgeError(
            f"{self._config.model} as a judge: {self._unparsed[of]:,} of {self._total[of]:,} verdicts on {OWNERS[of]} "
            f"could not be read, more than judge.max_unparsed={self._config.max_unparsed:g} allows (mostly: {why}); "
            f"see the replies in {seen}, then run again, which asks for these anew, set another judge.model, or raise "
            "judge.max_unparsed"
        )


def why_unparsed(verdicts: Iterable[Verdict]) -> Counter[str]:
    """Count the verdicts without a score by why there is none, with what may be done about it."""
    whys = (verdict.reason.partition(":")[0] for verdict in verdicts if verdict.score is None)
    return Counter(f"{why}: {ADVICE[why]}" if why in ADVICE else why for why in whys)
