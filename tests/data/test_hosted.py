"""What stands around prompts and completions: chosen, found, put and taken off."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.core.errors import ConfigError
from components.data.hosted.config import HostedConfig
from components.data.hosted.ends import Ends, choose_ends, find_ends

TEXTS = st.text(alphabet="ab #\nEND->", min_size=1, max_size=12).filter(lambda text: bool(text.strip()))


@pytest.mark.ci
@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=8))
def test_what_is_put_around_texts_stands_nowhere_in_them_and_can_be_taken_off(pairs: list[tuple[str, str]]) -> None:
    ends = choose_ends(pairs, HostedConfig())
    for pair in pairs:
        prompt, completion = ends.put(pair)
        assert prompt.find(ends.separator) == len(prompt) - len(ends.separator)
        assert completion.find(ends.stop) == len(completion) - len(ends.stop)
        assert completion[0] == " "
        assert not completion[1].isspace()
        assert ends.taken_off((prompt, completion)) == (pair[0], pair[1].lstrip())


def test_what_texts_hold_is_not_chosen() -> None:
    ends = choose_ends([("a\n\n###\n\nb", "two\nlines"), ("c", "the END")], HostedConfig())
    assert ends == Ends("\n\n---\n\n", " ###")


@pytest.mark.parametrize("key", ["separator", "stop"])
def test_one_of_your_own_that_texts_hold_is_refused_with_the_key(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"hosted\.{key}: '->' .*example 2"):
        choose_ends([("a", "b"), ("x -> y", "x -> y")], HostedConfig.model_validate({key: "->"}))


@pytest.mark.ci
@pytest.mark.parametrize("separator", ["\n\n###\n\n", " ->", "\n", "\n\n---\n\n", "<|answer|>"])
@pytest.mark.parametrize("stop", ["\n", " END", "###", " <|end|>"])
def test_what_stands_around_the_texts_of_a_file_is_found(separator: str, stop: str) -> None:
    pairs = [(f"text {number}?{separator}", f" answer {number}.{stop}") for number in range(12)]
    found = find_ends(pairs)
    assert found.problems == []
    assert [found.ends.taken_off(pair) for pair in pairs] == [(f"text {n}?", f"answer {n}.") for n in range(12)]


def test_words_that_all_texts_end_with_are_no_separator() -> None:
    found = find_ends([("Is it red?", "yes it is"), ("Is it not red?", " it is"), ("Not red?", "  it is")])
    assert found.ends == Ends("", "")
    prompts, blanks, stops = found.problems
    assert "separator" in prompts
    assert "2 of 3 completions" in blanks
    assert "stop" in stops
