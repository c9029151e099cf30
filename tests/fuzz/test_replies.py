"""What judges say: whatever it is, a verdict that can be kept, or none."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.mutations import mutated
from tests.fuzz.replies import TARGETS


@pytest.mark.long
@pytest.mark.parametrize("name", TARGETS)
def test_valid_files_are_read(name: str) -> None:
    seeds = TARGETS[name].seeds()
    assert [TARGETS[name].check(seed) for seed in seeds] == [True] * len(seeds)


@pytest.mark.long
@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=60)
@given(st.data())
def test_no_bytes_bring_more_than_a_line(name: str, data: st.DataObject) -> None:
    TARGETS[name].check(data.draw(mutated(TARGETS[name].seeds())))
