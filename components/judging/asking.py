"""Asking a judge many questions at once, and keeping each verdict as soon as it is there."""

import queue
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from components.errors import JudgeError
from components.judging.cache import Cache
from components.judging.clients import Client, Unreadable
from components.judging.rubric import shipped_rubric
from components.judging.verdicts import Verdict, read_verdict, unparsed

GRACE = 5.0
"""Seconds that requests under way get to come to an end after one of them has failed."""


@dataclass(frozen=True)
class Question:
    """What a judge is asked: the user's message, the seed, and the key under which the verdict is kept."""

    key: str
    text: str
    seed: int


def ask_all(
    questions: list[Question],
    client: Client,
    cache: Cache,
    concurrency: int,
    stop: threading.Event,
    report: Callable[[str, Verdict], None],
) -> None:
    """Ask every question, `concurrency` at a time, and `report` key and verdict of each, in any order.

    `stop` is the client's: it is set as soon as one question fails, and then no other is begun. What is under way has
    a few seconds to arrive.

    Raises:
        JudgeError: as the client does.
    """
    results: queue.SimpleQueue[tuple[str, Verdict] | BaseException] = queue.SimpleQueue()
    todo, lock = iter(_rotated(questions)), threading.Lock()

    def work() -> None:
        while not stop.is_set():
            with lock:
                question = next(todo, None)
            if question is None:
                return
            try:
                results.put((question.key, _verdict(question, client, cache)))
            except JudgeError as error:
                stop.set()
                results.put(error)
            except BaseException as error:
                stop.set()
                results.put(error)
                raise

    # Daemons, which no executor has: an interpreter that is told to leave does not wait for a judge's last reply.
    workers = [threading.Thread(target=work, daemon=True) for _ in range(min(concurrency, len(questions)))]
    for worker in workers:
        worker.start()
    try:
        for _ in questions:
            result = results.get()
            if isinstance(result, BaseException):
                _await(workers)
                for key, verdict in _left(results):
                    report(key, verdict)
                raise result
            report(*result)
    finally:
        stop.set()


def _verdict(question: Question, client: Client, cache: Cache) -> Verdict:
    """Return the verdict on a question, from the judge or from another process that has asked it in the meantime."""
    if found := cache.find([question.key]):
        return found[question.key]
    reply = ""
    for again in (False, True):
        try:
            reply = client.ask(shipped_rubric().messages(question.text, again), question.seed)
        except Unreadable as error:
            reply = error.reply
            continue
        if verdict := read_verdict(reply):
            return cache.keep(question.key, verdict)
    return cache.keep(question.key, unparsed(reply))


def _rotated(questions: list[Question]) -> list[Question]:
    """Begin somewhere: two processes with the same questions then share them, and hardly ever ask one both."""
    start = random.Random().randrange(len(questions)) if questions else 0
    return questions[start:] + questions[:start]


def _await(workers: list[threading.Thread]) -> None:
    deadline = time.monotonic() + GRACE
    for worker in workers:
        worker.join(max(deadline - time.monotonic(), 0))


def _left(results: "queue.SimpleQueue[tuple[str, Verdict] | BaseException]") -> Iterator[tuple[str, Verdict]]:
    while not results.empty():
        result = results.get()
        if not isinstance(result, BaseException):
            yield result
