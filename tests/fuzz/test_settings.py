"""Presets, overrides: whatever their text is, a config or lines that say what is wrong."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.mutations import mutated
from tests.fuzz.settings import TARGETS

FOUND = [
    ("preset", b"model: {weights: " + b"x" * 3000 + b"}"),  # OSError: File name too long
    ("override", b"model.s\x08.layers=2\x7f"),  # what the terminal obeys
    ("override", b"a\nb=1"),
    ("preset", b"model: {size: 5}"),  # TypeError
    ("preset", b"model: {size: [5]}"),
]


@pytest.mark.long
@pytest.mark.parametrize("name", TARGETS)
def test_valid_files_are_read(name: str) -> None:
    seeds = TARGETS[name].seeds()
    assert [TARGETS[name].check(seed) for seed in seeds] == [True] * len(seeds)


@pytest.mark.long
@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=25)
@given(st.data())
def test_no_bytes_bring_more_than_a_line(name: str, data: st.DataObject) -> None:
    TARGETS[name].check(data.draw(mutated(TARGETS[name].seeds())))


@pytest.mark.long
@pytest.mark.parametrize(("name", "data"), FOUND)
def test_what_was_found_once_is_a_line(name: str, data: bytes) -> None:
    TARGETS[name].check(data)
