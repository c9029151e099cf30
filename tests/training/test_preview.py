"""How texts are shown as the network gets them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.model.config import Pooling
from components.model.tokenizer import encode, load_tokenizer
from components.training.batching import Examples
from components.training.preview import describe_lengths, draw_samples

ENCODING = load_tokenizer("sample://vocabulary.tiktoken")


@given(st.lists(st.integers(0, 300), min_size=1, max_size=80), st.integers(1, 200))
def test_bars_hold_every_text_once_and_cuts_add_up(lengths: list[int], limit: int) -> None:
    found = describe_lengths("train", np.array(lengths), limit)
    assert sum(bar.texts for bar in found.bars) == len(lengths)
    for bar in found.bars:
        assert bar.texts == sum(bar.first <= max(length, 1) <= bar.last for length in lengths)
    assert found.percentiles["longest"] == max(lengths)
    assert found.cut_texts == sum(length > limit for length in lengths)
    assert found.cut_tokens == sum(lengths) - sum(min(length, limit) for length in lengths)


@pytest.mark.parametrize(
    ("pooling", "read"),
    [
        ("last_token", "position 3, ' you'"),
        ("first_token", "position 1, 'call'"),
        ("mean", "the mean of positions 1 to 3"),
        ("last_position", "position 8, padding"),
        ("mean_positions", "the mean of positions 1 to 8, 5 of them padding"),
    ],
)
def test_a_sample_says_what_feeds_the_classifier(pooling: Pooling, read: str) -> None:
    rows = encode(ENCODING, ["call you", "see you soon", "call see you now ok"])
    rows[0] = [rows[0][0], rows[1][1], rows[1][1]]
    pieces = [ENCODING.decode([token]) for token in rows[0]]
    examples = Examples.of(rows, [1, 0, 1])
    [ham, spam] = draw_samples(
        "train", examples.cut(3), examples.lengths, ["ham", "spam"], ENCODING, pooling, 8, each=1
    )
    assert (ham.label, spam.label, spam.pieces, spam.ids) == ("ham", "spam", pieces, rows[0])
    assert spam.read == read.replace("'call'", repr(pieces[0])).replace("' you'", repr(pieces[2]))
    assert ham.lost == max(len(rows[1]) - 3, 0)
