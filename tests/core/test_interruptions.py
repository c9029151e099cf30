"""An interruption that comes at a bad moment is not lost, and comes a little later."""

import signal

import pytest

from components.core.interruptions import interruptions_held_back


def test_an_interruption_that_is_held_back_comes_at_the_end() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background
    reached = False
    try:
        with pytest.raises(KeyboardInterrupt), interruptions_held_back():  # noqa: PT012
            signal.raise_signal(signal.SIGINT)
            reached = True
        assert reached
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
