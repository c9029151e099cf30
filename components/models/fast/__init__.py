"""Other ways to run the same blocks: each gives what the plain network gives, sooner or in less memory.

All of them ask `uses` by name. `train.fast=false` and `generation.fast=false` switch all off (`fast_paths`), a
benchmark of one path that one (`without`); for whoever asks in the same context, no other thread.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Final

PATHS: Final = {
    "cached features": "blocks that do not train are computed once for all texts",
    "folding": "the last block at one position, without keys and values of its own",
    "packed weights": "linear layers through oneDNN, with weights laid out ahead",
    "short attention": "causal attention in short rows by way of all scores",
    "no padding": "a classifier does no work for padding",
    "used rows": "embedding rows that no text needs are left out of training",
    "rounded weights": "frozen linear layers in bf16 while a network trains in bf16",
    "kept memory": "freed memory is used again instead of going back to the system",
    "compiled": "blocks compiled by PyTorch",
    "key-value cache": "what was computed of a token is kept while its row goes on",
    "embedding bags": "attention of one token a row as embedding bags",
}
"""Every fast path by name, and what it does."""

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
