"""Text that comes piece by piece is the text that comes at once, and no piece has to be taken back."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.generation.decoding import as_text
from components.generation.streams import TextStream
from tests.generation.models import ENCODING

LETTERS = st.text(alphabet="ab. \nä🎁", max_size=40)


def decoded(tokens: list[int]) -> str:
    return "".join(as_text(ENCODING, tokens))


@given(LETTERS, st.lists(st.text(alphabet="ab. ä", min_size=1, max_size=4), max_size=3), st.booleans(), st.integers())
def test_pieces_are_the_whole_cut_at_the_first_stop(text: str, stops: list[str], strip: bool, seed: int) -> None:
    tokens = [ENCODING.encode_single_token(bytes([byte])) for byte in text.encode()]
    # A row ends with the token that makes the first of its texts to stop at whole.
    ends = (n for n in range(len(tokens) + 1) if any(stop in decoded(tokens[:n]) for stop in stops))
    tokens = tokens[: next(ends, len(tokens))]
    whole = decoded(tokens)
    whole = whole[: min((place for stop in stops if (place := whole.find(stop)) >= 0), default=len(whole))]
    stream, draw, said, done = TextStream(ENCODING, stops, strip), random.Random(seed), "", 0
    while done < len(tokens):
        count = draw.randint(1, 3)
        said += stream.add(tokens[done : done + count])
        assert (whole.strip() if strip else whole).startswith(said)
        done += count
    assert said + stream.finish() == (whole.strip() if strip else whole)


@pytest.mark.parametrize(("stops", "first"), [([], "ab"), (["bc"], "a"), (["abc"], "")])
def test_only_what_may_begin_a_stop_is_held_back(stops: list[str], first: str) -> None:
    assert TextStream(ENCODING, stops, strip=False).add(ENCODING.encode_ordinary("ab")) == first
