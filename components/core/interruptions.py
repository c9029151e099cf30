"""Holding Ctrl-C back for a moment, and being told to end like it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar

_publication: ContextVar[ExitStack | None] = ContextVar("publication", default=None)


@contextmanager
def interruptions_held_back() -> Iterator[None]:
    """Let an interruption that comes within the block take effect at its end.

    For what must not be cut in two, and for imports: libraries may swallow a KeyboardInterrupt while they load, and
    then nobody heard of it. Outside of the main thread, to which signals come, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    names = (signal.SIGINT, signal.SIGTERM)
    before = {name: signal.signal(name, lambda number, _frame: held.append(number)) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
        for number in held[:1]:
            signal.raise_signal(number)


@contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """Raise a KeyboardInterrupt where the process is told to end, so that what is half done is removed.

    Outside of the main thread it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def publication() -> Iterator[None]:
    """Mark the block in which a step's result is made and published, for `hold_until_published`."""
    with ExitStack() as stack:
        token = _publication.set(stack)
        try:
            yield
        finally:
            _publication.reset(token)


def hold_until_published() -> None:
    """Hold interruptions back from here on until the result under way is in its place, if one is being published."""
    if stack := _publication.get():
        stack.enter_context(interruptions_held_back())
