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

A_WORKER = 2
"""Questions a worker that are handed out and not reported, at most: the one it asks, and one to go on with."""

Todo = queue.SimpleQueue[tuple[Question, Verdict | None] | None]
"""Questions to ask, each with the verdict that another process has made of it, if any; None ends a worker."""

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

    Once `report` returns False no other question is begun, and those under way are the last: fewer than `A_WORKER` for
    each of the `concurrency`, since a question is handed out only after a verdict was reported.

    This thread alone writes to the cache, all verdicts that have arrived at once: a commit for each would make the
    others wait, and the judge with them. After each verdict it takes a step of `meanwhile`, which is work of the
    caller's that the judge need not wait for; steps should be short.

    `stop` is the client's: it is set as soon as one question fails, and then no other is begun. What is under way has
    a few seconds to arrive.

    Raises:
        JudgeError: as the client does, or if verdicts cannot be kept.
    """
    todo: Todo = queue.SimpleQueue()
    results: Results = queue.SimpleQueue()
    shared = (todo, Exchange(client), stop, results)
    # Daemons, which no executor has: an interpreter that is told to leave does not wait for a judge's last reply.
    workers = [threading.Thread(target=_work, args=shared, daemon=True) for _ in questions[:concurrency]]
    # Two processes with the same questions that begin somewhere share them, and hardly ever ask one both.
    start = random.Random().randrange(len(questions)) if questions else 0
    unasked = _looked_up(questions[start:] + questions[:start], cache)
    missing, going = len(questions), True

    def keep(arrived: Iterable[tuple[str, Verdict] | BaseException]) -> None:
        nonlocal missing, going
        for key, verdict in cache.keep(_made(arrived)).items():
            missing -= 1
            going = report(key, verdict) and going
            if going:
                todo.put(next(unasked, None))
            next(meanwhile, None)

    def end() -> None:
        stop.set()
        for _ in workers:
            todo.put(None)

    def keep_the_last() -> None:
        end()
        deadline = time.monotonic() + GRACE
        for worker in workers:
            worker.join(max(deadline - time.monotonic(), 0))
        keep(_waiting(results))

    try:
        for _ in range(A_WORKER * len(workers)):
            todo.put(next(unasked, None))
        for worker in workers:
            worker.start()
        while missing and going:
            arrived = [results.get(), *_waiting(results)]
            keep(arrived)
            if failures := [each for each in arrived if isinstance(each, BaseException)]:
                keep_the_last()
                raise failures[0]
        if missing:
            keep_the_last()
    finally:
        end()
        if made := _made(_waiting(results)):  # an interruption costs no verdict that has arrived
            cache.keep(made)


def _made(arrived: Iterable[tuple[str, Verdict] | BaseException]) -> dict[str, Verdict]:
    """Return the verdicts among what has arrived, by key."""
    return dict(each for each in arrived if not isinstance(each, BaseException))


def _work(todo: Todo, exchange: Exchange, stop: threading.Event, results: Results) -> None:
    """Ask one question after the other of those that are to do, until there is none or one has failed."""
    try:
        while (task := todo.get()) and not stop.is_set():
            question, verdict = task
            results.put((question.key, verdict or exchange.verdict(question)))
    except BaseException as error:
        stop.set()
        results.put(error)
        if not isinstance(error, JudgeError):
            raise


def _looked_up(questions: list[Question], cache: Cache) -> Iterator[tuple[Question, Verdict | None]]:
    """Yield questions, each with the verdict that another process has made of it in the meantime, if any."""
    for start in range(0, len(questions), AHEAD):
        batch = questions[start : start + AHEAD]
        found = cache.find([question.key for question in batch])
        yield from ((question, found.get(question.key)) for question in batch)


def _waiting(results: Results) -> Iterator[tuple[str, Verdict] | BaseException]:
    while not results.empty():
        yield results.get()
