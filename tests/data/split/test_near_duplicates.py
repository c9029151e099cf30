"""Near duplicates: what is found is right, and next to nothing is missed."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.data.split.near_duplicates import NearDuplicates
from tests.data import word_overlap


def near_duplicates(texts: list[str], folder: Path, digits: bool = True) -> NearDuplicates:
    pd.DataFrame({"text": texts}).to_parquet(folder / "texts.parquet")
    return NearDuplicates(folder / "texts.parquet", ["text"], digits)


def components(near: NearDuplicates) -> np.ndarray:
    """The component of each text's words, -1 for a text without."""
    none = np.empty(0, np.int64)
    labels = near.components(none, none, near.count)
    return np.append(labels, -1)[near.of_row[:, 0]]


def varied(rows: int, seed: int, vocabulary: int = 3000) -> list[str]:
    """Texts of 8 to 25 words, half of them an earlier one in which a few words are others."""
    draw = np.random.default_rng(seed)
    known = [f"w{number:x}" for number in range(vocabulary)]
    texts: list[list[str]] = []
    for _ in range(rows):
        if texts and draw.random() < 0.5:
            own = list(texts[draw.integers(len(texts))])
            for _ in range(draw.integers(0, 5)):
                own[draw.integers(len(own))] = known[draw.integers(vocabulary)]
        else:
            own = [known[place] for place in (draw.zipf(1.3, draw.integers(8, 26)) - 1) % vocabulary]
        texts.append(own)
    return [" ".join(own) for own in texts]


def templates(rows: int, seed: int) -> list[str]:
    """Tickets from a few templates: most of their words are the same thousands of times."""
    draw = np.random.default_rng(seed)
    names = [f"name{number:x}" for number in range(2000)]
    forms = [
        "hello {} my order of {} has not arrived in {} can you help me please",
        "i {} want to return the {} that i bought in {} last week",
        "your verification code for the account is {}",
        "the printer {} does not print since the update and the {} is offline",
    ]
    return [forms[draw.integers(4)].format(*draw.choice(names, 3)) for _ in range(rows)]


@pytest.mark.ci
@pytest.mark.parametrize(
    "draw", [partial(varied, 2000, 0), partial(varied, 2000, 1, vocabulary=40), partial(templates, 3000, 2)]
)
def test_components_are_those_of_all_pairs(tmp_path: Path, draw: Callable[[], list[str]]) -> None:
    texts = draw()
    pairs = word_overlap.count_by_pairs(texts)
    found = components(near_duplicates(texts, tmp_path))
    parent = list(range(len(texts)))

    def root(place: int) -> int:
        while parent[place] != place:
            place = parent[place]
        return place

    for one, other in pairs:
        parent[root(one)] = root(other)
    expected = [root(place) for place in range(len(texts))]
    long = found >= 0
    # The same partition: each component of one is one of the other.
    both = set(zip(found[long].tolist(), np.array(expected)[long].tolist(), strict=True))
    assert len(both) == len({one for one, _ in both}) == len({other for _, other in both})


@pytest.mark.slow
@pytest.mark.parametrize(("draw", "seed"), [(varied, 3), (templates, 4)])
def test_at_least_999_of_1000_pairs_are_found(tmp_path: Path, draw: Callable[..., list[str]], seed: int) -> None:
    texts = draw(20_000, seed)
    near = near_duplicates(texts, tmp_path)
    pairs = word_overlap.count_by_pairs(texts)
    assert len(pairs) > 5_000
    # Each band by itself, without what components add: a pair is found if its texts share a bucket.
    sets = near.of_row[:, 0]
    one, other = np.array(sorted(pairs)).T
    shared = (near.bands[:, sets[one]] == near.bands[:, sets[other]]).any(axis=0)
    print(f"recall {shared.mean():.5f} of {len(pairs):,} pairs")  # noqa: T201
    assert shared.mean() >= 0.999
    labels = components(near)
    assert (labels[one] == labels[other]).mean() >= 0.999


@pytest.mark.ci
@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.lists(st.integers(0, 14), min_size=1, max_size=16), min_size=0, max_size=40))
def test_sides_are_those_of_all_pairs(tmp_path_factory: pytest.TempPathFactory, rows: list[list[int]]) -> None:
    texts = [" ".join(f"word{number}" for number in row) for row in rows]
    near = near_duplicates(texts, tmp_path_factory.mktemp("texts"))
    sets = near.of_row[:, 0]
    sides = np.zeros(near.count + 1, np.uint8)
    for place, number in enumerate(sets):
        sides[number] |= 1 << place % 2
    reached = np.append(near.reached(sides[:-1]), np.uint8(0))[sets]
    for side in (0, 1):
        known = texts[side::2]
        leaking = set(word_overlap.leaking(known, texts))
        assert {text for text, bits in zip(texts, reached, strict=True) if bits & (1 << side)} == leaking


def test_texts_may_be_alike_with_or_without_their_digits(tmp_path: Path) -> None:
    one = "call 0800 111 222 333 444 now to win a big prize today"
    other = "call 0800 555 666 777 888 now to win a big prize today"
    with_digits = near_duplicates([one, other], tmp_path).of_row
    assert with_digits.shape == (2, 1)
    assert with_digits[0, 0] != with_digits[1, 0]
    without = near_duplicates([one, other], tmp_path, digits=False).of_row
    assert without[0, 1] == without[1, 1] != without[0, 0]


def test_texts_of_seven_words_have_none(tmp_path: Path) -> None:
    near = near_duplicates(["one two three four five six seven"] * 2, tmp_path)
    assert near.of_row.tolist() == [[-1], [-1]]
    assert near.count == 0
