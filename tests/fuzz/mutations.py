"""Bytes that are nearly a valid file: some of it flipped, cut out, repeated, or another number."""

import json
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from hypothesis import strategies as st

TELLING = (
    b"\0", b"\n", b"\r", b'"', b"'", b"{", b"}", b"[", b"]", b",", b":", b"*a", b"&a ", b"<<: ",
    b"\xff\xfe", b"\xef\xbb\xbf",
    b"\xed\xa0\x80", b"\\ud800", b"\x1b[2J", b"null", b"true", b"NaN", b"1e999", b"-1", b"9" * 30, b"9" * 5000,
    b"\xff" * 8, b"\xff" * 4 + b"\0" * 4, b"\0" * 7 + b"\x80", b"\x7f", b"[" * 2000, b'{"a":' * 2000, b"../../x",
    b"!!python/name:os.system ",
)  # fmt: skip
"""What parsers stumble over."""

VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 2**31, 2**63, 10**30, 0.5, float("nan"), float("inf"), "", "a", "\0", "\ud800", "a\nb", "../x",
    "1", "x" * 3000,    [], {}, [[]], [None], {"": 0}, [{"a": 1}], ["a", "b"],
)  # fmt: skip
"""What may stand where something else is due."""

Edit = tuple[int, int, int, bytes]


def edited(data: bytes, edits: Sequence[Edit]) -> bytes:
    """Return bytes with edits made: what is done, where, how much, and with what."""
    for kind, where, amount, piece in edits:
        place = where % (len(data) + 1)
        before, after = data[:place], data[place:]
        if kind == 0:  # flip
            data = before + bytes([after[0] ^ (1 << amount % 8)]) + after[1:] if after else data
        elif kind == 1:  # cut off
            data = before
        elif kind == 2:  # cut out
            data = before + after[amount:]
        elif kind == 3:  # insert
            data = before + piece + after
        elif kind == 4:  # overwrite
            data = before + piece + after[len(piece) :]
        elif kind == 5:  # repeat
            data = before + after[:amount] * 3 + after
        else:  # another value in a tree
            with suppress(ValueError, RecursionError, UnicodeError):
                data = other_value(data, where, amount)
    return data


def other_value(data: bytes, where: int, which: int) -> bytes:
    """Return JSON, or a file that begins with the length of some, with another value in some place, or without it."""
    if data[8:9] == b"{":
        (length,) = struct.unpack("<Q", data[:8])
        header = other_value(data[8 : 8 + length], where, which)
        return struct.pack("<Q", len(header)) + header + data[8 + length :]
    tree = json.loads(data)
    places = list(places_in(tree))
    if places:
        owner, key = places[where % len(places)]
        if which % (len(VALUES) + 1) == len(VALUES):
            del owner[key]
        else:
            owner[key] = VALUES[which % (len(VALUES) + 1)]
    return json.dumps(tree).encode()


def places_in(tree: Any) -> list[tuple[Any, Any]]:
    """Return every place in a tree: what holds it, and under which key."""
    keys = list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    return [(tree, key) for key in keys] + [place for key in keys for place in places_in(tree[key])]


def mutated(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Return a strategy for bytes that are nearly one of the seeds, and some that are like none."""
    near = st.one_of(st.integers(0, 200), st.integers(0, max(map(len, seeds))))
    piece = st.one_of(st.sampled_from(TELLING), st.binary(min_size=1, max_size=8))
    edit: Any = st.tuples(st.sampled_from((0, 1, 2, 3, 4, 5, 6, 6, 6)), near, st.integers(1, 64), piece)
    edits = st.lists(edit, min_size=1, max_size=5)
    return st.one_of(st.builds(edited, st.sampled_from(seeds), edits), st.binary(max_size=200))
