"""Adapters apart from their base: what is saved here loads in `peft`, what `peft` saves loads here, to equal logits."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GPT2Config,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedModel,
    Qwen3Config,
)

from components.core.errors import WeightsError
from components.models.architecture import Transformer
from components.models.classifier import Classifier
from components.models.config import LoraConfig, ModelConfig
from components.models.language_model import LanguageModel
from components.models.lora import LoraLinear, add_adapters, merge_adapters
from components.models.saved.adapter import load_adapter, save_adapter
from components.models.weights import make_gpt, make_transformer

peft = pytest.importorskip("peft")

WORDS, CLASSES = 101, 3
LLAMA: dict[str, Any] = {
    "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 2,
    "intermediate_size": 80, "vocab_size": WORDS, "max_position_embeddings": 64, "bos_token_id": None,
    "eos_token_id": None, "pad_token_id": 0, "num_labels": CLASSES,
}  # fmt: skip
FAMILIES = {
    "gpt2": GPT2Config(
        n_layer=2, n_embd=32, n_head=4, n_positions=64, vocab_size=WORDS, bos_token_id=None, eos_token_id=None,
        pad_token_id=0, num_labels=CLASSES,
    ),
    "llama": LlamaConfig(**LLAMA),
    "qwen3": Qwen3Config(**LLAMA, head_dim=16),
}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {"plain": {}, "rslora": {"rslora": True}, "dora": {"dora": True}}
SOME = {"gpt2": ["mlp.c_proj"], "llama": ["self_attn.q_proj", "mlp.down_proj"], "qwen3": ["self_attn.o_proj"]}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> dict[str, Any]:
    return KINDS[request.param]


@pytest.fixture
def base(family: str, tmp_path: Path) -> Path:
    """A folder with a random model that is of some consequence, in `transformers`' layout."""
    return save_base(FAMILIES[family], tmp_path / "base")


def save_base(config: PretrainedConfig, folder: Path) -> Path:
    torch.manual_seed(0)
    peer = AutoModelForCausalLM.from_config(config)
    stir(peer, "")
    peer.save_pretrained(folder)
    return folder


def stir(model: nn.Module, among: str) -> None:
    """Give parameters other values, as if they had learnt something."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if among in name.lower():
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)


def settings(base: Path, **values: Any) -> ModelConfig:
    return ModelConfig(weights=str(base), size="auto", vocabulary="auto", **values)


def start(base: Path) -> LanguageModel:
    return make_gpt(settings(base), WORDS, base, seed=0).eval()


def peer_of(base: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(base).eval()


def learnt(base: Path, config: LoraConfig) -> LanguageModel:
    model = start(base)
    add_adapters(model.transformer, config, seed=1)
    stir(model, "lora_")
    return model


def tokens() -> Tensor:
    return torch.randint(1, WORDS, (2, 20), generator=torch.Generator().manual_seed(7))


def close(ours: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=0)


@pytest.mark.ci
@pytest.mark.parametrize("targets", ["all", "attention", "some"])
@torch.no_grad()
def test_what_is_saved_here_loads_in_peft(
    base: Path, family: str, kind: dict[str, Any], targets: str, tmp_path: Path
) -> None:
    chosen = SOME[family] if targets == "some" else targets
    config = LoraConfig(rank=4, alpha=10, targets=chosen, **kind)
    model = learnt(base, config)
    save_adapter(model, config, "its/base", tmp_path / "adapter")
    loaded = peft.PeftModel.from_pretrained(peer_of(base), tmp_path / "adapter").eval()
    assert (model(tokens()) - start(base)(tokens())).abs().max() > 0.05, "the adapter changes nothing"
    close(model(tokens()), loaded(tokens()).logits)


@pytest.mark.ci
@torch.no_grad()
def test_what_peft_saves_loads_here(base: Path, kind: dict[str, Any], tmp_path: Path) -> None:
    options = {f"use_{name}": value for name, value in kind.items()}
    config = peft.LoraConfig(r=4, lora_alpha=10, target_modules="all-linear", task_type="CAUSAL_LM", **options)
    theirs = peft.get_peft_model(peer_of(base), config).eval()
    stir(theirs, "lora_")
    theirs.save_pretrained(tmp_path / "adapter")
    model = start(base)
    found = load_adapter(model, tmp_path / "adapter")
    expected = theirs(tokens()).logits
    assert (expected - start(base)(tokens())).abs().max() > 0.05, "the adapter changes nothing"
    close(model(tokens()), expected)
    assert found.model_dump() == LoraConfig(rank=4, alpha=10, targets=found.targets, **kind).model_dump()


@pytest.mark.ci
def test_the_files_are_those_that_peft_writes(base: Path, kind: dict[str, Any], tmp_path: Path) -> None:
    config = LoraConfig(rank=4, alpha=10, dropout=0.1, **kind)
    save_adapter(learnt(base, config), config, str(base), tmp_path / "ours")
    loaded = peft.PeftModel.from_pretrained(peer_of(base), tmp_path / "ours")
    loaded.save_pretrained(tmp_path / "theirs")
    ours, theirs = (load_file(tmp_path / f"{each}/adapter_model.safetensors") for each in ("ours", "theirs"))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    ours, theirs = (json.loads((tmp_path / f"{each}/adapter_config.json").read_text()) for each in ("ours", "theirs"))
    theirs["target_modules"].sort()
    assert ours == theirs


@pytest.mark.ci
@torch.no_grad()
def test_a_merged_adapter_says_what_it_said_apart(base: Path, kind: dict[str, Any], tmp_path: Path) -> None:
    config = LoraConfig(rank=4, **kind)
    model = learnt(base, config)
    expected = model(tokens())
    save_adapter(model, config, str(base), tmp_path / "adapter")
    merge_adapters(model.transformer)
    close(model(tokens()), expected)
    begun = settings(base, adapter=str(tmp_path / "adapter"))
    again = make_gpt(begun, WORDS, base, seed=0).eval()
    close(again(tokens()), expected)
    network = make_transformer(begun, WORDS, base, seed=0).eval()
    close(network(tokens()), model.transformer(tokens()))
    assert not any(isinstance(layer, LoraLinear) for layer in (*again.modules(), *network.modules()))


@torch.no_grad()
def test_a_classifiers_head_goes_with_its_adapter(base: Path, tmp_path: Path) -> None:
    config = LoraConfig(rank=4)
    model = classifier(base)
    add_adapters(model.transformer, config, seed=1)
    stir(model, "lora_")
    stir(model, "head.")
    save_adapter(model, config, str(base), tmp_path / "adapter")
    peer = AutoModelForSequenceClassification.from_pretrained(base).eval()
    if model.head.bias is not None:
        peer.score = nn.Linear(model.head.in_features, CLASSES)  # theirs has no bias
    loaded = peft.PeftModel.from_pretrained(peer, tmp_path / "adapter").eval()
    expected = model(tokens(), torch.tensor([20, 20]))
    close(loaded(tokens()).logits, expected)
    again = classifier(base)
    load_adapter(again, tmp_path / "adapter")
    close(again(tokens(), torch.tensor([20, 20])), expected)
    network = make_transformer(settings(base, adapter=str(tmp_path / "adapter")), WORDS, base, seed=0).eval()
    close(network(tokens()), model.transformer(tokens()))
    with pytest.raises(WeightsError, match="is a classifier's"):
        load_adapter(start(base), tmp_path / "adapter")


def classifier(base: Path) -> Classifier:
    return Classifier(make_transformer(settings(base), WORDS, base, seed=0), CLASSES).eval()


@pytest.mark.ci
@torch.no_grad()
def test_a_classifiers_adapter_of_peft_loads_here(base: Path, tmp_path: Path) -> None:
    config = peft.LoraConfig(r=4, target_modules="all-linear", task_type="SEQ_CLS")
    peer = AutoModelForSequenceClassification.from_pretrained(base).eval()
    theirs = peft.get_peft_model(peer, config).eval()
    stir(theirs, "lora_")
    theirs.save_pretrained(tmp_path / "adapter")
    model = classifier(base)
    load_adapter(model, tmp_path / "adapter")
    close(model(tokens(), torch.tensor([20, 20])), theirs(tokens()).logits)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Transformer]:
    """The folder of an adapter, and a network that it fits."""
    folder = tmp_path_factory.mktemp("saved")
    base = save_base(FAMILIES["gpt2"], folder / "base")
    config = LoraConfig(rank=4)
    save_adapter(learnt(base, config), config, str(base), folder / "adapter")
    return folder / "adapter", start(base).transformer


def refused(
    saved: tuple[Path, Transformer], folder: Path, tensors: dict[str, Tensor] | None = None, **values: Any
) -> str:
    """Return the line with which an adapter is refused after a change to its config or its tensors."""
    source, network = saved
    found = json.loads((source / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(found | values))
    stored = load_file(source / "adapter_model.safetensors") if tensors is None else tensors
    save_file(stored, folder / "adapter_model.safetensors")
    with pytest.raises(WeightsError) as error:
        load_adapter(copy.deepcopy(network), folder)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("modules_to_save", ["lm_head"]),
        ("layers_to_transform", [0]),
        ("rank_pattern", {"c_attn": 8}),
        ("alpha_pattern", {"c_attn": 8}),
        ("bias", "all"),
        ("lora_bias", True),
        ("init_lora_weights", "pissa"),
        ("use_something_new", True),
    ],
)
def test_what_is_not_known_is_refused_by_its_name(
    saved: tuple[Path, Transformer], tmp_path: Path, key: str, value: Any
) -> None:
    expected = f"adapter_config.json has {key}={json.dumps(value)}, which cannot be loaded here"
    assert expected in refused(saved, tmp_path, **{key: value})


def test_another_kind_of_adapter_is_refused(saved: tuple[Path, Transformer], tmp_path: Path) -> None:
    assert "of an adapter of type IA3; known is LORA" in refused(saved, tmp_path, peft_type="IA3")


@pytest.mark.parametrize(("key", "value"), [("r", "many"), ("lora_alpha", None), ("lora_dropout", 2)])
def test_a_config_that_says_nonsense_is_refused(
    saved: tuple[Path, Transformer], tmp_path: Path, key: str, value: Any
) -> None:
    assert "the config of the adapter in" in refused(saved, tmp_path, **{key: value})


def test_an_adapter_that_does_not_fit_is_refused(saved: tuple[Path, Transformer], tmp_path: Path) -> None:
    tensors = load_file(saved[0] / "adapter_model.safetensors")
    name = "base_model.model.transformer.h.1.mlp.c_fc.lora_B.weight"
    assert "has shape (4, 32)" in refused(saved, tmp_path, r=8)
    assert "lacks h.0.attn.c_attn.lora_magnitude_vector" in refused(saved, tmp_path, use_dora=True)
    assert "lacks h.1.mlp.c_fc.lora_B.weight" in refused(
        saved, tmp_path, {k: v for k, v in tensors.items() if k != name}
    )
    more = {**tensors, name.replace("h.1", "h.2"): tensors[name].clone()}
    assert "has h.2.mlp.c_fc.lora_B.weight" in refused(saved, tmp_path, more)
    assert "has shape (64, 4)" in refused(saved, tmp_path, {**tensors, name: tensors[name][:64].contiguous()})
    fewer = refused(saved, tmp_path, target_modules=["c_proj", "mlp.c_fc"])
    assert "has tensors of attn.c_attn, which its target_modules does not name" in fewer
    others = {key.replace("transformer.h", "model.layers"): value for key, value in tensors.items()}
    assert "adapts no layer of a gpt2's first block" in refused(saved, tmp_path, others)


def test_an_adapter_of_numbers_that_are_none_is_refused(saved: tuple[Path, Transformer], tmp_path: Path) -> None:
    tensors = load_file(saved[0] / "adapter_model.safetensors")
    name = "base_model.model.transformer.h.1.mlp.c_fc.lora_B.weight"
    for value in (float("nan"), float("-inf")):
        damaged = tensors[name].clone()
        damaged[-1, -1] = value
        said = refused(saved, tmp_path, {**tensors, name: damaged})
        assert "h.1.mlp.c_fc.lora_B.weight holds numbers that are not finite" in said
    assert "holds int32" in refused(saved, tmp_path, {**tensors, name: tensors[name].int()})


def test_damaged_files_and_folders_without_an_adapter_are_refused(
    saved: tuple[Path, Transformer], tmp_path: Path
) -> None:
    network = copy.deepcopy(saved[1])
    for name, content, line in (
        (None, b"", "holds no adapter: there is no adapter_config.json; check model.adapter"),
        ("adapter_config.json", b"{", "there is no adapter_model.safetensors"),
        ("adapter_model.safetensors", b"damaged", "is no config of an adapter"),
        ("adapter_config.json", b'{"peft_type": "LORA", "r": 4}', "cannot be read"),
    ):
        if name:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=line):
            load_adapter(network, tmp_path)
