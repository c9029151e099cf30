"""Files of records: whatever their bytes are, rows or one line that says what is wrong."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.mutations import edited, mutated
from tests.fuzz.tables import TARGETS

(LABELLED,) = TARGETS["parquet"].seeds()
FOUND = [
    ("parquet", edited(LABELLED, [(4, 68, 0, b"\xff\xfe")])),  # UnicodeDecodeError: a text
    ("parquet", edited(LABELLED, [(3, 195, 0, b"\xff" * 8)])),  # Arrow repeats a byte of the file
    ("asked-json", json.dumps([{"messages": "[" * 5000}]).encode()),  # RecursionError
]


@pytest.mark.long
@pytest.mark.parametrize("name", TARGETS)
def test_valid_files_are_read(name: str) -> None:
    seeds = TARGETS[name].seeds()
    assert [TARGETS[name].check(seed) for seed in seeds] == [True] * len(seeds)


@pytest.mark.long
@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=30)
@given(st.data())
def test_no_bytes_bring_more_than_a_line(name: str, data: st.DataObject) -> None:
    TARGETS[name].check(data.draw(mutated(TARGETS[name].seeds())))


@pytest.mark.long
@pytest.mark.parametrize(("name", "data"), FOUND)
def test_what_was_found_once_is_a_line(name: str, data: bytes) -> None:
    TARGETS[name].check(data)
