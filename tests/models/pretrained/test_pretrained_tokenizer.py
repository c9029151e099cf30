"""Tokenizers of pretrained models: the ids of the library `tokenizers`, whichever way they are made."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from components.models.pretrained.tokenizer import PretrainedTokenizer
from tests.models.pretrained.small_tokenizers import BYTE_LEVEL, added, folder_of, read, small, trained

KINDS = (*BYTE_LEVEL, "sentencepiece", "sentencepiece-first", "wordpiece")
BITS = (
    "it's", "I'LL", "3", "12345", "٣٤", "½", "  ", " ", "\n", "\r\n", "\t", "안녕", "한국어", "\u1100\u1161", "e\u0301",
    "🎉", "👩‍👩‍👧", "<|endoftext|>", "<|im_end|>", "</s>", "[INST]", "[MASK]", "<tool_call>", "<0x41>", "▁", "##ing",
    "\u00a0", "\u3000", "\x85", "\x00", "\x1c", "Hello", " world", ".", "...", "_", "\ufffd", "\U0010ffff",
)  # fmt: skip
# Characters that some library's tables have as assigned and another's not yet are left out.
CHARACTERS = st.characters(exclude_categories=("Cs", "Cn"))
TEXTS = st.one_of(
    st.text(CHARACTERS, max_size=40),
    st.lists(st.one_of(st.sampled_from(BITS), st.text(CHARACTERS, max_size=3)), max_size=12).map("".join),
    st.binary(max_size=40).map(lambda raw: raw.decode("latin-1")),
)

Pair = tuple[PretrainedTokenizer, Tokenizer]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pair]:
    known: dict[str, Pair] = {}

    def pair(kind: str) -> Pair:
        if kind not in known:
            known[kind] = small(tmp_path_factory.mktemp("tokenizer"), kind)
        return known[kind]

    return pair


def ids(library: Tokenizer, text: str) -> list[int]:
    found: list[int] = library.encode(text, add_special_tokens=False).ids
    return found


@pytest.mark.ci
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150)
@given(text=TEXTS)
def test_ids_are_those_of_the_library(pairs: Callable[[str], Pair], kind: str, text: str) -> None:
    encoding, library = pairs(kind)
    assert encoding.encode_ordinary(text) == ids(library, text)


@pytest.mark.parametrize("kind", KINDS)
def test_byte_level_vocabularies_are_encoded_by_tiktoken(pairs: Callable[[str], Pair], kind: str) -> None:
    assert pairs(kind)[0].uses_tiktoken == (kind in BYTE_LEVEL)


@pytest.mark.ci
@pytest.mark.parametrize("kind", ["gpt2", "smollm", "llama3"])
@given(text=TEXTS)
def test_the_bytes_of_the_tokens_are_the_text(pairs: Callable[[str], Pair], kind: str, text: str) -> None:
    encoding, _ = pairs(kind)
    tokens = encoding.encode_ordinary(text)
    assert b"".join(map(encoding.decode_single_token_bytes, tokens)) == text.encode()
    assert encoding.decode(tokens) == text


@pytest.mark.ci
@given(text=TEXTS)
def test_sentencepiece_gives_the_text_back_after_a_blank(pairs: Callable[[str], Pair], text: str) -> None:
    encoding, _ = pairs("sentencepiece")
    shown = f" {text}" if text else ""
    assert encoding.decode(encoding.encode_ordinary(text)) == shown.replace("▁", " ")


def test_words_of_wordpiece_are_told_from_their_ends(pairs: Callable[[str], Pair]) -> None:
    encoding, library = pairs("wordpiece")
    tokens = encoding.encode_ordinary("the weather is lovely")
    assert len(tokens) > 0
    assert encoding.decode(tokens) == " the weather is lovely"
    assert library.decode(tokens) == "the weather is lovely"


@pytest.mark.ci
@pytest.mark.parametrize("kind", ["gpt2", "smollm", "llama3", "qwen2"])
@given(text=TEXTS)
def test_bytes_without_a_token_are_left_out(pairs: Callable[[str], Pair], kind: str, text: str) -> None:
    encoding, library = BARE.setdefault(kind, bare(kind))
    assert encoding.encode_ordinary(text) == ids(library, text)


BARE: dict[str, Pair] = {}


def bare(kind: str) -> Pair:
    """A vocabulary without the bytes that its corpus did not have."""
    library = trained(kind, alphabet=False)
    files = {"tokenizer.json": library.to_str()}
    library.encode_special_tokens = True
    return PretrainedTokenizer(files, 600, (0,), kind), library


def test_a_vocabulary_without_all_bytes_is_still_encoded_by_tiktoken() -> None:
    encoding, _ = BARE.setdefault("smollm", bare("smollm"))
    assert encoding.uses_tiktoken
    assert encoding.encode_ordinary("\x04") == []


def test_halves_of_characters_do_not_stop_it(pairs: Callable[[str], Pair]) -> None:
    for kind in KINDS:
        encoding, library = pairs(kind)
        assert encoding.encode_ordinary("a\ud83d b") == ids(library, "a\ufffd b")
        assert encoding.encode_ordinary("\ud83c\udf89") == ids(library, "🎉")


def changed(folder: Path, change: Callable[[dict[str, Any]], None], kind: str = "gpt2") -> Pair:
    library = trained(kind)
    spec = json.loads(library.to_str())
    change(spec)
    library = Tokenizer.from_str(json.dumps(spec))
    encoding = read(folder_of(folder, library))
    library.encode_special_tokens = True
    return encoding, library


def test_a_file_of_earlier_years_is_encoded_by_tiktoken_as_well(tmp_path: Path) -> None:
    """As GPT-2's own: no word of a pattern, merges as lines, no type of model."""
    library = trained("gpt2")
    spec = json.loads(library.to_str())
    del spec["pre_tokenizer"]["use_regex"], spec["model"]["type"], spec["model"]["ignore_merges"]
    spec["model"]["merges"] = [" ".join(pair) for pair in spec["model"]["merges"]]
    (folder_of(tmp_path, library) / "tokenizer.json").write_text(json.dumps(spec))
    encoding = read(tmp_path)
    assert encoding.uses_tiktoken
    assert encoding.encode_ordinary("they'll say 1,234 days") == ids(library, "they'll say 1,234 days")


def merges_out_of_order(spec: dict[str, Any]) -> None:
    spec["model"]["merges"].reverse()


def a_merge_less(spec: dict[str, Any]) -> None:
    spec["model"]["merges"].pop(-3)


def a_token_that_nothing_merges_to(spec: dict[str, Any]) -> None:
    spec["model"]["vocab"]["Ġzq"] = len(spec["model"]["vocab"])


def a_blank_before_the_text(spec: dict[str, Any]) -> None:
    spec["pre_tokenizer"]["add_prefix_space"] = True


def letters_in_lower_case(spec: dict[str, Any]) -> None:
    spec["normalizer"] = {"type": "Lowercase"}


def a_pattern_of_its_own(spec: dict[str, Any]) -> None:
    split = {"type": "Split", "pattern": {"Regex": r"\X"}, "behavior": "Isolated", "invert": False}
    whole = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    spec["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, whole]}


ODD = [
    merges_out_of_order, a_merge_less, a_token_that_nothing_merges_to, a_blank_before_the_text, letters_in_lower_case,
    a_pattern_of_its_own,
]  # fmt: skip


@pytest.mark.parametrize("change", ODD)
def test_what_tiktoken_cannot_do_is_left_to_the_library(
    tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    encoding, library = changed(tmp_path, change)
    assert not encoding.uses_tiktoken
    for text in ("they'll say 1,234 zq DAYS\n  안녕 zq", "".join(map(chr, range(256)))):
        assert encoding.encode_ordinary(text) == ids(library, text)


@pytest.mark.ci
@pytest.mark.parametrize("kind", ["gpt2", "qwen2", "sentencepiece"])
@pytest.mark.parametrize("options", [{}, {"normalized": True}, {"lstrip": True, "rstrip": True}, {"single_word": True}])
def test_added_tokens_that_are_not_special_are_encoded_in_texts(
    tmp_path: Path, kind: str, options: dict[str, bool]
) -> None:
    library = trained(kind)
    names = ["<tool_call>", "</tool_call>", "two words", "é!"]
    library.add_tokens(added(names, **{"normalized": False, **options}, special=False))
    encoding = read(folder_of(tmp_path, library))
    library.encode_special_tokens = True
    assert encoding.uses_tiktoken == (kind != "sentencepiece")
    for text in ("a <tool_call> b</tool_call>c", "two words", "two wordsx é! e\u0301!", "<tool_call><|im_end|>"):
        assert encoding.encode_ordinary(text) == ids(library, text)
    tokens = encoding.encode_ordinary("two words")
    assert encoding.decode(tokens).strip() == "two words"
    assert "<tool_call>" not in encoding.special_tokens


def test_special_tokens_are_no_part_of_a_text_but_of_what_a_template_wrote(pairs: Callable[[str], Pair]) -> None:
    encoding, library = pairs("qwen2")
    text = "<|im_start|>user\nHi <|im_end|>\n"
    assert not {0, 1, 2} & set(encoding.encode_ordinary(text))
    library.encode_special_tokens = False
    expected = ids(library, text)
    library.encode_special_tokens = True
    assert encoding.encode_rendered(text) == expected
    assert {1, 2} <= set(expected)


@pytest.mark.ci
@given(text=TEXTS)
def test_hidden_names_are_text_again(pairs: Callable[[str], Pair], text: str) -> None:
    encoding, library = pairs("smollm")
    hidden = encoding.hide_special(text)
    assert not any(name in hidden for name in encoding.special_tokens)
    assert encoding.encode_rendered(hidden) == ids(library, text.replace("\U0010ffff", "\ufffd"))


@pytest.mark.parametrize("kind", ["sentencepiece", "sentencepiece-first"])
@pytest.mark.parametrize("text", ["<s>[INST] Hi there [/INST] yes</s>", "Hi<s>you", "<s> a", "[INST]한국[/INST]"])
def test_what_a_template_wrote_is_encoded_as_the_library_does(
    pairs: Callable[[str], Pair], kind: str, text: str
) -> None:
    encoding, library = pairs(kind)
    library.encode_special_tokens = False
    expected = ids(library, text)
    library.encode_special_tokens = True
    assert encoding.encode_rendered(text) == expected


@pytest.mark.parametrize("text", ["a <|end|>\n b", "<|end|> <|end|>x", "a  <|end|>"])
def test_special_tokens_take_in_the_blanks_that_they_take_in(tmp_path: Path, text: str) -> None:
    library = trained("gpt2")
    library.add_special_tokens(added(["<|end|>"], lstrip=True, rstrip=True))
    encoding = read(folder_of(tmp_path, library))
    assert encoding.encode_rendered(text) == ids(library, text)
