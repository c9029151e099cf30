"""Tokenizers in GGUF files: the ids of the tokenizers that they were made of."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from components.core.errors import WeightsError
from components.models.pretrained.gguf_tokenizer import write_tokenizer_files
from components.models.pretrained.tokenizer import PretrainedTokenizer
from tests.models.pretrained.small_tokenizers import added, read, trained

PRE = {"gpt2": "gpt-2", "smollm": "smollm", "llama3": "llama-bpe", "qwen2": "qwen2"}
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=("Cs", "Cn")), max_size=30),
    st.lists(st.sampled_from(["it's", " 12", "345", "안녕", "e\u0301", "  ", "\n", "🎉", "</s>", "<|im_end|>"])).map(
        "".join
    ),
)


def kind_of(token: str, number: int, library: Tokenizer) -> int:
    if found := library.get_added_tokens_decoder().get(number):
        return (CONTROL if token != "<unk>" else UNKNOWN) if found.special else USER_DEFINED
    return BYTE if token.startswith("<0x") and token.endswith(">") else NORMAL


def as_fields(library: Tokenizer, kind: str, **keys: Any) -> dict[str, Any]:
    """Return what llama.cpp's converter writes of a tokenizer."""
    spec = json.loads(library.to_str())
    tokens = [token for token, _ in sorted(library.get_vocab().items(), key=lambda item: item[1])]
    merges = [" ".join(pair) for pair in spec["model"]["merges"]]
    values: dict[str, Any] = {"tokens": tokens, "eos_token_id": 2}
    values["token_type"] = [kind_of(token, number, library) for number, token in enumerate(tokens)]
    if kind in PRE:
        values |= {"model": "gpt2", "pre": PRE[kind], "merges": merges}
    else:
        rank = {merge.replace(" ", ""): place for place, merge in enumerate(merges)}
        scores = [-float(rank.get(token, len(merges) + number)) for number, token in enumerate(tokens)]
        values |= {"model": "llama", "scores": scores, "unknown_token_id": 0}
    return {f"tokenizer.ggml.{name}": value for name, value in (values | keys).items() if value is not None}


def from_fields(folder: Path, library: Tokenizer, kind: str, **keys: Any) -> PretrainedTokenizer:
    folder.mkdir(exist_ok=True)
    write_tokenizer_files(as_fields(library, kind, **keys), folder, Path("model.gguf"))
    return read(folder)


KINDS = (*PRE, "sentencepiece")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[PretrainedTokenizer, Tokenizer]]:
    found = {}
    for kind in KINDS:
        library = trained(kind)
        library.add_tokens(added(["<tool_call>"], special=False, normalized=False))
        found[kind] = (from_fields(tmp_path_factory.mktemp("gguf"), library, kind), library)
        library.encode_special_tokens = True
    return found


Pairs = dict[str, tuple[PretrainedTokenizer, Tokenizer]]


@pytest.mark.one_case
@pytest.mark.parametrize("kind", KINDS)
@given(text=TEXTS)
def test_ids_are_those_of_the_tokenizer_that_was_converted(pairs: Pairs, kind: str, text: str) -> None:
    encoding, library = pairs[kind]
    for each in (text, f"{text}<tool_call> x"):
        assert encoding.encode_ordinary(each) == library.encode(each, add_special_tokens=False).ids


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_tokens_are_kept(pairs: Pairs, kind: str) -> None:
    encoding, library = pairs[kind]
    added_tokens = library.get_added_tokens_decoder()
    assert encoding.special_tokens == {each.content: number for number, each in added_tokens.items() if each.special}
    assert encoding.uses_tiktoken == (kind in PRE)


def test_a_text_that_spells_a_special_token_is_not_merged_to_it(tmp_path: Path) -> None:
    library = trained("sentencepiece")
    # `1]` is a token like any other, so that `[` and `1]` could be merged to the special one
    fields = as_fields(library, "sentencepiece")
    fields["tokenizer.ggml.tokens"] = [*fields["tokenizer.ggml.tokens"], "1]", "[1]"]
    fields["tokenizer.ggml.scores"] = [*fields["tokenizer.ggml.scores"], -2000.0, -2001.0]
    fields["tokenizer.ggml.token_type"] = [*fields["tokenizer.ggml.token_type"], NORMAL, CONTROL]
    write_tokenizer_files(fields, tmp_path, Path("model.gguf"))
    encoding = read(tmp_path)
    assert encoding.special_tokens["[1]"] not in encoding.encode_ordinary("[1]")
    assert encoding.special_tokens["[1]"] - 1 in encoding.encode_ordinary("[1]")


@pytest.mark.ci
@pytest.mark.parametrize(
    ("kind", "keys", "starts"),
    [
        ("gpt2", {}, ()),
        ("qwen2", {}, ()),
        ("llama3", {}, (1,)),
        ("sentencepiece", {}, (1,)),
        ("gpt2", {"add_bos_token": True}, (1,)),
        ("llama3", {"add_bos_token": False}, ()),
        ("sentencepiece", {"add_bos_token": False}, ()),
    ],
)
def test_a_start_is_expected_where_llama_cpp_expects_it(
    tmp_path: Path, kind: str, keys: dict[str, bool], starts: tuple[int, ...]
) -> None:
    assert from_fields(tmp_path, trained(kind), kind, bos_token_id=1, **keys).starts == starts


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"pre": "deepseek-coder"}, "deepseek-coder.*known are gpt-2, smollm, llama-bpe"),
        ({"model": "bert"}, "kind bert; known are gpt2 and llama"),
        ({"model": None}, "known are gpt2 and llama"),
        ({"tokens": None}, "holds no tokenizer"),
        ({"merges": None}, "does not say tokenizer.ggml.merges"),
        ({"eos_token_id": 70_000}, "eos_token_id is 70000"),
    ],
)
def test_a_tokenizer_that_is_not_known_is_refused(tmp_path: Path, keys: dict[str, Any], told: str) -> None:
    with pytest.raises(WeightsError, match=rf"^model\.gguf.*{told}"):
        from_fields(tmp_path, trained("smollm"), "smollm", **keys)
