"""Requests that are answered together: whatever an answer fails with, who waits hears of it, and others get theirs."""

from collections.abc import Sequence

import pytest

from components.serving.gathering import Gathering


class PanicException(BaseException):
    """As a library in Rust raises one."""


@pytest.mark.parametrize("kind", [ValueError, PanicException])
def test_a_failure_is_heard_and_the_next_request_is_answered(kind: type[BaseException]) -> None:
    def answer(texts: list[str]) -> Sequence[int]:
        if "bad" in texts:
            raise kind("it panicked")
        return [len(text) for text in texts]

    gathering = Gathering(answer, most=8, queue=8)
    try:
        with pytest.raises(Exception, match="it panicked"):
            gathering.submit(["bad"]).result(timeout=60)
        assert list(gathering.submit(["good"]).result(timeout=60)) == [4]
        assert gathering.is_alive
    finally:
        gathering.close()
