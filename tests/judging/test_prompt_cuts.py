"""The fewest tokens of a prompt, and what counts say of prompts that were cut."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.judging.prompt_cuts import count_cut, fewest_tokens
from components.models.tokenizer import load_tokenizer

VOCABULARY = "sample://instructions.tiktoken"
SAMPLES = Path(__file__).parents[2] / "components/data/samples/instructions.json"


def test_no_text_has_fewer_tokens_than_words() -> None:
    encoding = load_tokenizer(VOCABULARY, None)
    for entry in json.loads(SAMPLES.read_text(encoding="utf-8")):
        text = json.dumps(entry, ensure_ascii=False, indent=1)
        assert 5 < fewest_tokens(text) <= len(encoding.encode_ordinary(text))


@pytest.mark.slow
@given(st.text())
def test_words_are_those_between_blanks_with_a_letter_or_digit(text: str) -> None:
    assert fewest_tokens(text) == sum(any(letter.isalnum() for letter in word) for word in text.split())


@pytest.mark.parametrize(
    ("prompts", "cut"),
    [
        ([(500, 700), (600, 900)], 0),
        ([(900, 512), (1200, 512), (300, 400)], 2),
        ([(900, 1026), (1200, 1030), (1300, 1026), (300, 2040)], 2),  # the whole context is used, half after a cut
        ([(500, 60), (510, 75), (520, 110), (500, 700)], 0),  # without what was in the cache
        ([(500, 1), (600, 1)], 0),  # all of it was
        ([(500, 300)], 0),
        ([(500, 300)] + [(200, 290)] * 5, 1),
        ([(700, 520), (600, 2500)], 0),  # so much for a context of 1,040
        ([], 0),
    ],
)
def test_counts_that_only_a_cut_explains(prompts: list[tuple[int, int]], cut: int) -> None:
    assert count_cut(prompts) == cut
