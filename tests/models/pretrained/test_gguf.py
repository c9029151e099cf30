"""GGUF files, written here as llama.cpp's converter writes them: what they unpack to, against `transformers`."""

import json
import re
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from components.core.errors import WeightsError
from components.models.config import ModelConfig
from components.models.pretrained.files import find_weights, weight_files
from components.models.pretrained.gguf import gguf_settings, unpack_gguf
from components.models.saved.language_model import load_gpt, save_gpt
from components.models.tokenizer import encode_prompts, ends_of_text, load_tokenizer
from components.models.weights import make_gpt
from components.prompts import PromptConfig
from tests.models.pretrained.gguf_files import VOCABULARY, Kind, peer, put_in, write

TOKENS = torch.randint(VOCABULARY, (2, 40), generator=torch.Generator().manual_seed(7))


def unpacked(path: Path, **options: Any) -> Path:
    folder = path.with_suffix("")
    folder.mkdir()
    unpack_gguf(path, folder, **options)
    return folder


def check_same_logits(model: Any, path: Path, folder: Path) -> None:
    """The network, the folder in `transformers`, and ours from the file alone say the same."""
    config = ModelConfig(weights=str(path))
    ours = make_gpt(config, VOCABULARY, folder, seed=0).eval()
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        expected = model(TOKENS).logits
        assert expected.abs().max() > 1
        assert (theirs(TOKENS).logits - expected).abs().max() < 1e-4
        assert (ours(TOKENS) - expected).abs().max() < 1e-4


FAMILIES: list[tuple[str, dict[str, Any]]] = [
    ("llama", {}),
    ("llama", {"attention_bias": True, "mlp_bias": True}),
    ("qwen2", {}),
    ("qwen3", {}),
]


@pytest.mark.ci
@pytest.mark.parametrize(("family", "values"), FAMILIES)
@pytest.mark.parametrize("tied", [True, False])
def test_a_file_gives_the_logits_of_the_network_in_it(
    tmp_path: Path, family: str, values: dict[str, Any], tied: bool
) -> None:
    model = peer(family, tied, **values)
    write(tmp_path / "model.gguf", model)
    check_same_logits(model, tmp_path / "model.gguf", unpacked(tmp_path / "model.gguf"))


@pytest.mark.ci
@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q4_K", "Q6_K"])
@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_rounded_weights_are_read_as_the_library_rounds_them(tmp_path: Path, kind: str, family: str) -> None:
    model = peer(family, width=256 if kind.endswith("K") else 64)
    put_in(model, write(tmp_path / "model.gguf", model, Kind[kind]))
    check_same_logits(model, tmp_path / "model.gguf", unpacked(tmp_path / "model.gguf"))


def test_one_file_may_mix_roundings(tmp_path: Path) -> None:
    model = peer("llama", tied=False)

    def kind(name: str) -> Kind:
        return {"token_embd": Kind.Q8_0, "output": Kind.F16}.get(name.partition(".")[0], Kind.Q4_1)

    put_in(model, write(tmp_path / "model.gguf", model, kind))
    check_same_logits(model, tmp_path / "model.gguf", unpacked(tmp_path / "model.gguf"))


def test_factors_of_frequencies_are_applied(tmp_path: Path) -> None:
    """Llama 3's `llama3` scaling, which llama.cpp keeps as a tensor of factors."""
    rope = {"rope_type": "llama3", "rope_theta": 5000.0, "factor": 8.0, "low_freq_factor": 1.0}
    rope |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 32}
    model = peer("llama")
    plain = 5000.0 ** -(np.arange(0, 16, 2) / 16)
    model.config.rope_parameters = rope
    model = AutoModelForCausalLM.from_config(model.config).eval()
    torch.nn.init.normal_(model.model.embed_tokens.weight, std=1.0)
    for each in model.model.layers:
        torch.nn.init.normal_(each.self_attn.q_proj.weight, std=0.4)
    factors = (plain / model.model.rotary_emb.inv_freq.numpy()).astype(np.float32)
    assert factors.max() > 7
    write(tmp_path / "model.gguf", model, tensors={"rope_freqs.weight": factors})
    check_same_logits(model, tmp_path / "model.gguf", unpacked(tmp_path / "model.gguf"))


@pytest.mark.ci
@pytest.mark.parametrize("scaling", ["linear", "linear, not named", "linear, of old", "yarn"])
def test_stretched_positions_are_those_of_the_file(tmp_path: Path, scaling: str) -> None:
    model = peer("qwen2")
    rope = {"rope_type": scaling.partition(",")[0], "rope_theta": 5000.0, "factor": 4.0}
    keys: dict[str, Any] = {"qwen2.rope.scaling.type": scaling, "qwen2.rope.scaling.factor": 4.0}
    if scaling not in ("linear", "yarn"):  # llama.cpp takes a factor without a type for a linear one
        del keys["qwen2.rope.scaling.type"]
    if scaling == "linear, of old":
        keys = {"qwen2.rope.scale_linear": 4.0}
    if scaling == "yarn":
        rope["original_max_position_embeddings"] = keys["qwen2.rope.scaling.original_context_length"] = 16
    stretched = AutoModelForCausalLM.from_config(
        type(model.config)(**{**model.config.to_dict(), "rope_parameters": rope})
    )
    stretched.load_state_dict(model.state_dict())
    write(tmp_path / "model.gguf", stretched, **keys)
    check_same_logits(stretched.eval(), tmp_path / "model.gguf", unpacked(tmp_path / "model.gguf"))


def test_large_weights_become_several_files(tmp_path: Path) -> None:
    model = peer("llama", tied=False)
    write(tmp_path / "model.gguf", model)
    folder = unpacked(tmp_path / "model.gguf", shard_bytes=100_000)
    assert len(weight_files(folder)) > 2
    assert max(file.stat().st_size for file in weight_files(folder)) < 110_000
    check_same_logits(model, tmp_path / "model.gguf", folder)


def test_a_file_is_unpacked_once_with_its_tokenizer(tmp_path: Path) -> None:
    write(tmp_path / "model.gguf", peer("llama"), **{"tokenizer.chat_template": "{{ messages[0].content }}"})
    folder = find_weights(str(tmp_path / "model.gguf"), tmp_path / "cache")
    assert folder is not None
    before = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert find_weights(str(tmp_path / "model.gguf"), tmp_path / "cache") == folder
    assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == before
    assert [each.name for each in (tmp_path / "cache/gguf").iterdir()] == [folder.name]
    encoding = load_tokenizer(str(tmp_path / "model.gguf"))
    assert encoding.n_vocab == VOCABULARY
    assert encoding.decode(encoding.encode_ordinary("fade a cab 12")) == "fade a cab 12"
    theirs = AutoTokenizer.from_pretrained(folder)
    assert theirs.encode("fade a cab 12") == encoding.encode_ordinary("fade a cab 12")
    assert theirs.chat_template == "{{ messages[0].content }}"


def test_both_the_end_of_a_text_and_that_of_a_turn_end_what_is_generated(tmp_path: Path) -> None:
    write(tmp_path / "model.gguf", peer("llama"), **{"tokenizer.ggml.eot_token_id": VOCABULARY - 1})
    assert ends_of_text(load_tokenizer(str(tmp_path / "model.gguf"))) == (0, VOCABULARY - 1)


@pytest.mark.ci
def test_what_is_saved_of_it_has_its_tokenizer_and_template_and_serves_transformers(tmp_path: Path) -> None:
    template = "{% for message in messages %}{{ message.content }}<|endoftext|>{% endfor %}"
    write(tmp_path / "model.gguf", peer("qwen3", tied=False), **{"tokenizer.chat_template": template})
    config = ModelConfig(weights=str(tmp_path / "model.gguf"))
    encoding = load_tokenizer(config.tokenizer)
    model = make_gpt(config, encoding.n_vocab, find_weights(config.weights, tmp_path / "cache"), seed=0).eval()
    chat = PromptConfig(template="chat").resolved(encoding)
    (tmp_path / "saved").mkdir()
    save_gpt(tmp_path / "saved", model, encoding, chat)
    loaded = load_gpt(tmp_path / "saved")
    assert torch.equal(loaded.model(TOKENS), model(TOKENS))
    assert loaded.card.template == chat
    asked = [("a <|endoftext|> cab", "")]
    assert encode_prompts(loaded.encoding, chat, asked) == encode_prompts(encoding, chat, asked)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "saved", dtype=torch.float32).eval()
    assert (theirs(TOKENS).logits - model(TOKENS)).abs().max() < 1e-4


def test_the_shape_is_told_without_unpacking(tmp_path: Path) -> None:
    write(tmp_path / "model.gguf", peer("qwen3", tied=False))
    settings = gguf_settings(tmp_path / "model.gguf")
    assert (settings["model_type"], settings["vocab_size"]) == ("qwen3", VOCABULARY)
    assert (settings["num_key_value_heads"], settings["tie_word_embeddings"]) == (2, False)
    assert json.dumps(settings)


def refusal(path: Path) -> str:
    with pytest.raises(WeightsError) as raised:
        find_weights(str(path), path.parent / "cache")
    told = str(raised.value)
    assert "\n" not in told
    assert str(path) in told
    left = path.parent / "cache/gguf"
    assert not left.exists() or not list(left.iterdir())
    return told


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    whole = tmp_path / "whole.gguf"
    write(whole, peer("llama"))
    content, data = whole.read_bytes(), gguf.GGUFReader(whole).data_offset
    infos = content.index(b"token_embd.weight")
    places = [1, 4, 8, 20, 24, 40, *range(100, data, 331), infos + 20, data - 40, data, data + 1, len(content) - 100]
    for place in places:
        (tmp_path / "cut.gguf").write_bytes(content[:place])
        told = refusal(tmp_path / "cut.gguf")
        assert "fetch it again" in told, place
        if place < data:
            assert f"its {place:,} bytes are of another kind, damaged, or end within the header" in told
        else:
            assert f"is cut off: it has {place:,} of {len(content):,} bytes" in told


@pytest.mark.parametrize("content", [b"", b"GGUF", b"PK\x03\x04" * 100, b"a text, but renamed\n" * 20, b"\0" * 4096])
def test_what_is_no_gguf_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.gguf").write_bytes(content)
    assert "is no whole GGUF file" in refusal(tmp_path / "model.gguf")


@pytest.mark.long
def test_damaged_bytes_are_refused_or_harmless(tmp_path: Path) -> None:
    write(tmp_path / "whole.gguf", peer("llama"))
    content = bytearray((tmp_path / "whole.gguf").read_bytes())
    end = gguf.GGUFReader(tmp_path / "whole.gguf").data_offset
    said = []
    for place in np.random.default_rng(3).integers(0, end, 60):
        damaged = content.copy()
        damaged[place] ^= 0xFF
        (tmp_path / "damaged.gguf").write_bytes(damaged)
        try:
            find_weights(str(tmp_path / "damaged.gguf"), tmp_path / "cache")
        except WeightsError as error:
            said.append(str(error))
    assert said, "of some bytes much depends"
    assert all("damaged.gguf" in each and "\n" not in each for each in said)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"architecture": "gemma3"}, "architecture gemma3; known are llama, qwen2, qwen3"),
    ({"llama.expert_count": 8}, "mixture of experts.*choose"),
    ({"split.count": 3}, "one of 3 parts; join them"),
    ({"tokenizer.ggml.pre": "tekken"}, "cuts text as tekken.*known are .*smollm"),
    ({"tokenizer.ggml.model": "t5"}, "tokenizer of the kind t5; known are gpt2 and llama"),
    ({"tokenizer.ggml.tokens": None}, "holds no tokenizer.*fetch it again"),
    ({"tokenizer.ggml.merges": None}, "does not say tokenizer.ggml.merges"),
    ({"tokenizer.ggml.eos_token_id": 5000}, "eos_token_id.*5,?000"),
    ({"llama.block_count": None}, r"does not say llama\.block_count"),
    ({"llama.attention.head_count": [4, 2]}, r"layers of several shapes \(llama\.attention\.head_count\)"),
    ({"llama.rope.dimension_count": 8}, "a part of each head"),
    ({"llama.attention.scale": 0.3}, r"says llama\.attention\.scale"),
    ({"llama.rope.scaling.attn_factor": 0.5}, r"says llama\.rope\.scaling\.attn_factor"),
    ({"tensors": {"blk.0.attn_sinks.weight": np.ones(4, np.float32)}}, r"tensor blk\.0\.attn_sinks\.weight"),
    ({"tensors": {"token_embd.weight": np.ones(4, np.float32)}}, "token embedding"),
]


@pytest.mark.parametrize(("values", "told"), REFUSED)
def test_a_model_that_is_not_known_is_refused_by_name(tmp_path: Path, values: dict[str, Any], told: str) -> None:
    write(tmp_path / "model.gguf", peer("llama"), **values)
    assert re.search(told, refusal(tmp_path / "model.gguf"))


def test_a_rounding_that_is_not_known_is_refused_with_those_that_are(tmp_path: Path) -> None:
    write(tmp_path / "model.gguf", peer("llama", width=256), Kind.Q2_K)
    told = refusal(tmp_path / "model.gguf")
    assert "Q2_K" in told
    assert "Q4_K, Q6_K" in told


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"there is no file .*none\.gguf; check model\.weights"):
        find_weights(str(tmp_path / "none.gguf"), tmp_path)
