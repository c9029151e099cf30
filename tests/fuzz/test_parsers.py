"""Whatever bytes a parser gets, it finds what they say, or says in a line what is wrong; `parsers.py` has them all."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.core.errors import WeightsError
from components.models.pretrained.gguf import gguf_settings
from tests.fuzz.mutations import edited, mutated
from tests.fuzz.parsers import TARGETS

DEEP = b"[" * 5000
OWN = {"name": "own", "pattern": ".", "special_tokens": {"<|endoftext|>": 256}}
TALK = {"eos_token": "<|end|>"}


def own(**values: object) -> bytes:
    return json.dumps(OWN | values).encode()


def talk(**values: object) -> bytes:
    return json.dumps(TALK | values).encode()


(LABELLED,) = TARGETS["parquet"].seeds()
FOUND = [
    ("preset", b"model: {weights: " + b"x" * 3000 + b"}"),  # OSError: File name too long
    ("override", b"model.s\x08.layers=2\x7f"),  # what the terminal obeys
    ("override", b"a\nb=1"),
    ("preset", b"model: {size: 5}"),  # TypeError
    ("preset", b"model: {size: [5]}"),
    ("parquet", edited(LABELLED, [(4, 68, 0, b"\xff\xfe")])),  # UnicodeDecodeError: a text
    ("parquet", edited(LABELLED, [(3, 195, 0, b"\xff" * 8)])),  # Arrow repeats a byte of the file
    ("asked-json", json.dumps([{"messages": "[" * 5000}]).encode()),  # RecursionError
    # RecursionError
    *((name, DEEP) for name in TARGETS if name.endswith(".json") or name in ("index", "adapter-config")),
    # UnicodeEncodeError, ValueError, TypeError, a panic of Rust's
    *(("own-tokenizer.json", own(pattern=pattern)) for pattern in ("\ud800", "[", "", "x*", 5, None)),
    *(("own-tokenizer.json", own(special_tokens=tokens)) for tokens in ([], {"a": "b"}, None, {"a": 2**70})),
    # ValidationError, AttributeError, KeyError
    *(("tokenizer_config.json", talk(chat_template=template)) for template in (5, [5], [{"name": "default"}], {})),
    # ValidationError, TypeError
    ("config.json", b'{"size": {"layers": true}}'),
    ("config.json", b'{"size": 5}'),
    *(
        (
            "adapter-config",
            json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 1, "modules_to_save": heads}).encode(),
        )
        for heads in (5, [[]], "score", {"score": 1})
    ),
    # half a character, and what turns the direction of writing, in a message
    ("index", b'{"weight_map": {"a": "model\\ud800"}}'),
    ("config.json", b'{"model_type": "\xef\xbb\xbfgpt2\\u202e\\u001b[2J\\n"}'),
]
"""Inputs that once brought more than a line."""


@pytest.mark.long
@pytest.mark.parametrize("name", TARGETS)
def test_valid_files_are_read(name: str) -> None:
    seeds = TARGETS[name].seeds()
    assert [TARGETS[name].check(seed) for seed in seeds] == [True] * len(seeds)


@pytest.mark.long
@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=30)
@given(st.data())
def test_no_bytes_bring_more_than_a_line(name: str, data: st.DataObject) -> None:
    TARGETS[name].check(data.draw(mutated(TARGETS[name].seeds())))


@pytest.mark.long
@pytest.mark.parametrize(("name", "data"), FOUND)
def test_what_was_found_once_is_a_line(name: str, data: bytes) -> None:
    TARGETS[name].check(data)


def test_tensors_that_lie_in_one_another_are_refused(tmp_path: Path) -> None:
    gguf = TARGETS["gguf"].seeds()[0]
    place = gguf.index(b"output_norm.weight") + len(b"output_norm.weight") + 4 + 8 + 4  # after its one dimension
    assert gguf[place : place + 8] != bytes(8)
    (path := tmp_path / "model.gguf").write_bytes(gguf[:place] + bytes(8) + gguf[place + 8 :])
    with pytest.raises(WeightsError, match="its tensors lie in one another"):
        gguf_settings(path)
