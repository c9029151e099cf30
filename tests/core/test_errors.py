import pytest

from components.core.errors import LONGEST_LINE, ConfigError, WeightsError, shortened
from components.tracking.stores import one_line


@pytest.mark.parametrize("length", [0, 1, 999, 1000, 1001, 1100, 5000, 10_000_000])
def test_a_long_text_keeps_its_beginning_and_its_end(length: int) -> None:
    text = ("cannot read x: " + "a" * length)[: max(length - 18, 0)] + "; set y to mend it"
    short = shortened(text)
    assert len(short) <= LONGEST_LINE
    assert short.endswith("; set y to mend it")
    assert short == text if len(text) <= LONGEST_LINE else short.startswith("cannot read x: aaa")


def test_what_is_recorded_of_an_error_is_one_line_of_a_sane_length() -> None:
    text = one_line(ValueError("first\n" + "x " * 100_000 + "\nlast"))
    assert text.startswith("first x x")
    assert text.endswith("x x last")
    assert len(text) <= 1000
    assert len(one_line("y" * 9000, limit=4000)) <= 4000


def test_what_a_message_quotes_is_shown_and_not_obeyed() -> None:
    quoted = "a\x1b[2J\rb\u202ec\ud800\x00"
    shown = "a\\x1b[2J\\rb\\u202ec\\ud800\\x00"
    assert str(ConfigError(f"{quoted}\nsecond line, 안녕 👩‍👩‍👧\u3000")) == f"{shown}\nsecond line, 안녕 👩‍👩‍👧\u3000"
    assert str(WeightsError("first\nsecond\u2028third")) == "first second third"
