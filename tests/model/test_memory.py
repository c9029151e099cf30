"""Memory that is freed, seen from the process that the system accounts it to."""

import sys

import psutil
import pytest
import torch

from components.model.memory import freed_memory_kept

LARGE = 256 << 20


def resident() -> int:
    return int(psutil.Process().memory_info().rss)


def use_and_free() -> None:
    torch.ones(LARGE // 4)


@pytest.mark.skipif(sys.platform != "linux", reason="the allocator is glibc's")
def test_memory_is_kept_until_the_outermost_context_ends() -> None:
    use_and_free()
    before = resident()
    with freed_memory_kept():
        with freed_memory_kept():
            use_and_free()
        assert resident() - before > LARGE / 2
        use_and_free()
        assert resident() - before > LARGE / 2
    assert resident() - before < LARGE / 2
    use_and_free()
    assert resident() - before < LARGE / 2
