"""Other ways to run the same blocks: each gives what the plain network gives, sooner or in less memory.

All of them ask `uses` by name. `train.fast=false` and `generation.fast=false` switch all off (`fast_paths`), a
benchmark of one path that one (`without`); for whoever asks in the same context, no other thread.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

PATHS = (
    "cached features",
    "folding",
    "packed weights",
    "short attention",
    "no padding",
    "shared prefixes",
    "used rows",
    "rounded weights",
    "kept memory",
    "compiled",
    "key-value cache",
    "embedding bags",
)
"""Every fast path, each described where it is taken."""

_off: ContextVar[frozenset[str]] = ContextVar("_off", default=frozenset())


def uses(path: str) -> bool:
    """Tell whether a path of `PATHS` may be taken here."""
    return path not in _off.get()


@contextmanager
def without(*paths: str) -> Iterator[None]:
    """Within it, these of `PATHS` are not taken."""
    before = _off.set(_off.get() | set(paths))
    try:
        yield
    finally:
        _off.reset(before)


def fast_paths(on: bool) -> AbstractContextManager[None]:
    """Within it, all fast paths are as they were, or none is taken: networks run as `architecture` has them."""
    return without(*(() if on else PATHS))
