"""What no data could make right is refused in one line, before the data or the weights are fetched."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from components.core.errors import GradusError
from components.models.architecture import make_network
from components.models.config import LoraConfig
from components.models.language_model import LanguageModel
from components.models.lora import add_adapters
from components.models.saved.adapter import save_adapter
from components.models.sizes import LlamaSize
from pipelines.check import check
from tests.pipelines.instructing import config

LLAMA = LlamaSize(layers=2, heads=4, kv_heads=2, head_width=8, width=32, mlp_width=48, context=64)
SIZE = f"model.size={LLAMA.model_dump_json(exclude={'rope', 'windowed'})}"


def refused(tmp_path: Path, *overrides: str) -> str:
    """Return what a check of a preset says whose data is not there, which would be the next thing to be said."""
    with pytest.raises(GradusError) as raised:
        check(config(tmp_path, *overrides, "source.url=/nothing/at/all.json"))
    told = str(raised.value)
    assert "\n" not in told
    return told


def adapter(folder: Path, size: LlamaSize = LLAMA) -> Path:
    model = LanguageModel(make_network(size, 20), True)
    add_adapters(model.transformer, LoraConfig(), seed=0)
    folder.parent.mkdir(exist_ok=True)
    save_adapter(model, LoraConfig(), "some/base", folder)
    return folder


def test_layers_that_the_family_lacks_are_named_with_those_that_it_has(tmp_path: Path) -> None:
    lora = ("train.trainable=lora", "lora.targets=[attn.c_attn]")
    told = refused(tmp_path, SIZE, *lora)
    assert told.startswith(
        "llama has no attn.c_attn; lora.targets can be all, attention, feed_forward, or of self_attn.q"
    )
    assert "/nothing/at/all.json" in refused(tmp_path, *lora), "GPT-2 has them"


def test_a_model_that_can_never_fit_is_refused(tmp_path: Path) -> None:
    huge = "model.size={layers: 900, heads: 64, width: 16384, context: 64}"
    told = refused(tmp_path, huge)
    assert told.startswith("random takes more than 46,386 GB of memory with train.trainable=all, this machine has ")
    assert told.endswith("GB: choose a smaller model, or train.trainable=lora")
    assert refused(tmp_path, huge, "train.trainable=lora").endswith("GB: choose a smaller model")


def test_an_adapter_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    fitting = adapter(tmp_path / "fitting")
    assert "/nothing/at/all.json" in refused(tmp_path, SIZE, f"model.adapter={fitting}")
    narrow = adapter(tmp_path / "narrow", LLAMA.model_copy(update={"width": 16}))
    assert "has shape" in refused(tmp_path, SIZE, f"model.adapter={narrow}")
    assert "adapts no layer of a gpt2's first block" in refused(tmp_path, f"model.adapter={fitting}")


def test_an_adapter_that_is_none_is_refused(tmp_path: Path) -> None:
    assert "holds no adapter: there is no adapter_config.json" in refused(tmp_path, f"model.adapter={tmp_path}")
    pickled = adapter(tmp_path / "pickled")
    (pickled / "adapter_model.safetensors").rename(pickled / "adapter_model.bin")
    assert "adapter_model.bin, which could run code" in refused(tmp_path, SIZE, f"model.adapter={pickled}")


def test_weights_of_an_unknown_family_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "mamba"}))
    save_file({"weight": torch.zeros(1)}, folder / "model.safetensors")
    overrides = [f"model.weights={folder}", "model.size=auto", "model.vocabulary=auto"]
    assert "is a model of the type mamba; known are" in refused(tmp_path, *overrides)
