"""Tokenizers of pretrained models as folders: what is read, what is written, what is refused."""

from pathlib import Path
from typing import Any

import pytest
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from components.core.errors import WeightsError
from components.models.tokenizer import closing, encode_whole, ends_of_text, write_tokenizer
from tests.models.pretrained.small_tokenizers import BYTE_LEVEL, folder_of, read, small, trained

KINDS = (*BYTE_LEVEL, "sentencepiece", "sentencepiece-first", "wordpiece")
TEXTS = ("they'll say 1,234 days\n  안녕 e\u0301 🎉", "<|endoftext|> </s> [MASK]", "".join(map(chr, range(256))))


@pytest.mark.ci
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_read_again(tmp_path: Path, kind: str) -> None:
    encoding, _ = small(tmp_path / "from", kind)
    (tmp_path / "to").mkdir()
    write_tokenizer(encoding, tmp_path / "to")
    again = read(tmp_path / "to")
    assert (again.n_vocab, again.ends, again.starts) == (encoding.n_vocab, encoding.ends, encoding.starts)
    assert (again.uses_tiktoken, again.special_tokens) == (encoding.uses_tiktoken, encoding.special_tokens)
    for text in TEXTS:
        assert again.encode_ordinary(text) == encoding.encode_ordinary(text)


def test_several_tokens_end_a_text(tmp_path: Path) -> None:
    generation = {"eos_token_id": [0, 4]}
    encoding, _ = small(tmp_path, "llama3", tokenizer_config={"eos_token": "<|eot_id|>"}, generation_config=generation)
    assert ends_of_text(encoding) == (4, 0)


def test_an_end_may_be_described_as_an_object_or_by_number(tmp_path: Path) -> None:
    one, _ = small(tmp_path / "one", "gpt2", tokenizer_config={"eos_token": {"content": "<|im_end|>", "special": True}})
    two, _ = small(tmp_path / "two", "gpt2", tokenizer_config={}, config={"eos_token_id": 2, "vocab_size": 512})
    assert one.ends == two.ends == (2,)


def test_the_network_may_know_more_tokens_than_the_tokenizer(tmp_path: Path) -> None:
    encoding, library = small(tmp_path, "gpt2", config={"vocab_size": 512})
    assert library.get_vocab_size() < encoding.n_vocab == 512
    assert encoding.decode_single_token_bytes(511) == b""
    assert encoding.decode([511]) == ""


def test_a_start_is_put_before_a_text_where_the_tokenizer_says_so(tmp_path: Path) -> None:
    named = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}
    without, library = small(tmp_path / "without", "llama3", tokenizer_config=named)
    asked, _ = small(tmp_path / "asked", "llama3", tokenizer_config={**named, "add_bos_token": True})
    library.post_processor = TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 0)]
    )
    processed = read(folder_of(tmp_path / "processed", library, tokenizer_config=named))
    assert (without.starts, asked.starts, processed.starts) == ((), (0,), (0,))
    assert processed.encode_ordinary("day") == without.encode_ordinary("day")


@pytest.mark.parametrize(
    ("kind", "around", "config"),
    [
        ("wordpiece", ("[CLS]", "[SEP]"), {"model_type": "bert", "pad_token_id": 0}),
        ("sentencepiece", ("<s>", "</s>"), {"model_type": "xlm-roberta", "pad_token_id": 0, "eos_token_id": 2}),
    ],
)
def test_encoders_whose_files_name_no_token_have_those_of_transformers(
    tmp_path: Path, kind: str, around: tuple[str, str], config: dict[str, Any]
) -> None:
    library = trained(kind)
    ends = [(name, library.token_to_id(name)) for name in around]
    library.post_processor = TemplateProcessing(single=f"{around[0]} $A {around[1]}", special_tokens=ends)
    # As bert-base-uncased and roberta-base have it.
    folder_of(tmp_path, library, tokenizer_config={"do_lower_case": True, "model_max_length": 512}, config=config)
    encoding, peer = read(tmp_path), PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    assert encode_whole(encoding, ["Hello world"]) == [peer("Hello world")["input_ids"]]
    assert (closing(encoding), ends_of_text(encoding)) == (1, (ends[1][1],))


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"config": {"vocab_size": 300}}, "tokens and the network knows 300"),
    ({"config": {"vocab_size": 800}}, "the network knows 800: they do not belong together"),
    ({"config": {"vocab_size": "many"}}, "'many' is no number"),
    ({"tokenizer_config": {}}, r"which token ends a text \(eos_token in tokenizer_config\.json\)"),
    ({"tokenizer_config": {"eos_token": {}}}, "which token ends a text"),
    ({"tokenizer_config": ["a"]}, "fetch the model again"),
    ({"generation_config": {"eos_token_id": [70_000]}}, "ends texts with the token 70000"),
    ({"generation_config": {"eos_token_id": "</s>"}}, "'</s>' is no number"),
]


@pytest.mark.parametrize(("files", "told"), REFUSED)
def test_a_tokenizer_that_does_not_fit_is_refused(tmp_path: Path, files: dict[str, Any], told: str) -> None:
    with pytest.raises(WeightsError, match=told) as raised:
        small(tmp_path, "gpt2", **files)
    assert str(tmp_path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "7",
        '{"model": {}}',
        '{"model": {"type": "New"}}',
        '{"model": {"type": "BPE", "vocab": 3}}',
        "cut",
    ],
)
def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path, content: str) -> None:
    path = folder_of(tmp_path, trained("gpt2")) / "tokenizer.json"
    path.write_text(content if content != "cut" else path.read_text()[:5000])
    with pytest.raises(WeightsError, match=r"tokenizer\.json.*again") as raised:
        read(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"tokenizer\.json cannot be read"):
        read(tmp_path)
