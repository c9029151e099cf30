"""Asking a judge many questions at once, and keeping each verdict as soon as it is there."""

import queue
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from components.core.errors import JudgeError
from components.judging.cache import Cache
from components.judging.clients import Client
from components.judging.exchange import Exchange, Question
from components.judging.verdicts import Verdict

GRACE = 5.0
"""Seconds that requests under way get to come to an end after one of them has failed."""

AHEAD = 16
"""Questions that are looked up at once before they are asked: a few that another process asks too, at most."""

Results = queue.SimpleQueue[tuple[str, Verdict] | BaseException]
"""Key and verdict of each question that was asked, or why none more are."""


def ask_all(
    questions: list[Question],
    client: Client,
    cache: Cache,
    concurrency: int,
    stop: threading.Event,
    report: Callable[[str, Verdict], bool],
    meanwhile: Iterator[object],
) -> None:
    """Ask every question, `concurrency` at a time, and `report` key and verdict of each, in any order.

    Once `report` returns False no other question is begun, and those under way are the last.

    This thread alone writes to the cache, all verdicts that have arrived at once: a commit for each would make the
    others wait, and the judge with them. After each verdict it takes a step of `meanwhile`, which is work of the
    caller's that the judge need not wait for; steps should be short.

    `stop` is the client's: it is set as soon as one question fails, and then no other is begun. What is under way has
    a few seconds to arrive.

    Raises:
        JudgeError: as the client does, or if verdicts cannot be kept.
    """
    results: Results = queue.SimpleQueue()
    shared = (_looked_up(_rotated(questions), cache), threading.Lock(), Exchange(client), stop, results)
    # Daemons, which no executor has: an interpreter that is told to leave does not wait for a judge's last reply.
    workers = [threading.Thread(target=_work, args=shared, daemon=True) for _ in questions[:concurrency]]
    for worker in workers:
        worker.start()
    missing = len(questions)

    def keep(arrived: Iterable[tuple[str, Verdict] | BaseException]) -> bool:
        going = True
        for key, verdict in cache.keep(_made(arrived)).items():
            going = report(key, verdict) and going
            next(meanwhile, None)
        return going

    try:
        going = True
        while missing and going:
            arrived = [results.get(), *_waiting(results)]
            failures = [each for each in arrived if isinstance(each, BaseException)]
            if failures:
                _await(workers)
                arrived += _waiting(results)
            going = keep(arrived)
            if failures:
                raise failures[0]
            missing -= len(_made(arrived))
        if missing:
            stop.set()
            _await(workers)
            keep(_waiting(results))
    finally:
        stop.set()
        if made := _made(_waiting(results)):  # an interruption costs no verdict that has arrived
            cache.keep(made)


def _made(arrived: Iterable[tuple[str, Verdict] | BaseException]) -> dict[str, Verdict]:
    """Return the verdicts among what has arrived, by key."""
    return dict(each for each in arrived if not isinstance(each, BaseException))


def _work(
    todo: Iterator[tuple[Question, Verdict | None]],
    lock: threading.Lock,
    exchange: Exchange,
    stop: threading.Event,
    results: Results,
) -> None:
    """Ask one question after the other of those that are to do, until there is none or one has failed."""
    try:
        while not stop.is_set():
            with lock:
                question, verdict = next(todo, (None, None))
            if question is None:
                return
            results.put((question.key, verdict or exchange.verdict(question)))
    except JudgeError as error:
        stop.set()
        results.put(error)
    except BaseException as error:
        stop.set()
        results.put(error)
        raise


def _looked_up(questions: list[Question], cache: Cache) -> Iterator[tuple[Question, Verdict | None]]:
    """Yield questions, each with the verdict that another process has made of it in the meantime, if any."""
    for start in range(0, len(questions), AHEAD):
        batch = questions[start : start + AHEAD]
        found = cache.find([question.key for question in batch])
        yield from ((question, found.get(question.key)) for question in batch)


def _rotated(questions: list[Question]) -> list[Question]:
    """Begin somewhere: two processes with the same questions then share them, and hardly ever ask one both."""
    start = random.Random().randrange(len(questions)) if questions else 0
    return questions[start:] + questions[:start]


def _await(workers: list[threading.Thread]) -> None:
    deadline = time.monotonic() + GRACE
    for worker in workers:
        worker.join(max(deadline - time.monotonic(), 0))


def _waiting(results: Results) -> Iterator[tuple[str, Verdict] | BaseException]:
    while not results.empty():
        yield results.get()
