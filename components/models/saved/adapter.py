"""An adapter as a folder, apart from the model that it changes: the layout of the library `peft`.

    adapter_model.safetensors   A and B of each layer, with DoRA its lengths, and a classifier's head
    adapter_config.json         rank, alpha, which layers, and the model that it was trained on

What is saved here loads in `peft`, and what `peft` saves loads here.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from components.core.errors import WeightsError
from components.core.room import require_room
from components.core.yaml_loader import load_json
from components.models.architecture import Transformer, transformer_of
from components.models.classifier import Classifier
from components.models.config import LoraConfig
from components.models.language_model import LanguageModel
from components.models.layers import replace
from components.models.lora import LoraLinear, adapted_layers, add_adapters, is_adapter, merge_adapters
from components.models.pretrained.files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, find_adapter
from components.models.pretrained.numbers import check_numbers

PREFIX = "base_model.model."
"""What the names of all tensors begin with."""
PARTS = {"lora_a": "lora_A.weight", "lora_b": "lora_B.weight", "lora_lengths": "lora_magnitude_vector"}
"""What `peft` calls the parts of an adapter."""
HEADS = ("classifier", "score")
"""What a classifier's head may be called in `transformers`."""
OUTSIDE = ("pooler.dense", "head.dense")
"""Layers behind the blocks that encoders have in `transformers` and `peft` adapts with all others."""
DEFAULTS: dict[str, Any] = {
    **dict.fromkeys(
        (
            "alora_invocation_tokens", "arrow_config", "auto_mapping", "corda_config", "eva_config", "exclude_modules",
            "kasa_config", "layer_replication", "layers_pattern", "layers_to_transform", "lora_ga_config",
            "megatron_config", "monteclora_config", "revision", "target_parameters", "trainable_token_indices",
            "use_bdlora", "velora_config",
        )
    ),
    **{"alpha_pattern": {}, "rank_pattern": {}, "loftq_config": {}, "bias": "none", "init_lora_weights": True},
    **dict.fromkeys(("ensure_weight_tying", "lora_bias", "use_qalora"), False),
    **{"megatron_core": "megatron.core", "qalora_group_size": 16, "peft_type": "LORA", "peft_version": "0.21.2"},
    "inference_mode": True,
}  # fmt: skip
"""What `peft` writes of options that are not used here."""
READ = {"r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora", "modules_to_save", "init_lora_weights"}
INDIFFERENT = {
    "auto_mapping", "base_model_name_or_path", "exclude_modules", "fan_in_fan_out", "inference_mode", "layers_pattern",
    "megatron_core", "peft_type", "peft_version", "qalora_group_size", "revision", "target_modules", "task_type",
}  # fmt: skip
"""Options that say nothing which the tensors and the model do not say, or nothing without another one."""
BASE_STAYS = (True, False, None, "gaussian", "orthogonal")
"""How an adapter may have begun; others change the base as well, and fit no other."""


def save_adapter(model: LanguageModel | Classifier, config: LoraConfig, base: str, folder: Path) -> None:
    """Write the adapter that has not been merged yet into `folder`; `base` names the model that it was trained on.

    A classifier's head is written too, under `modules_to_save`.
    """
    network = transformer_of(model)
    begin = PREFIX + network.names.prefix
    learnt = {begin + _peft_name(name): each for name, each in network.named_parameters() if is_adapter(name)}
    if isinstance(model, Classifier):
        learnt |= {f"{PREFIX}{network.names.classifier}.{name}": each for name, each in model.head.named_parameters()}
    tensors = {name: each.detach().cpu().float().contiguous() for name, each in learnt.items()}
    require_room(folder.parent, sum(each.nbytes for each in tensors.values()))
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    text = json.dumps(_settings_of(model, config, base), indent=2, sort_keys=True)
    (folder / ADAPTER_CONFIG).write_text(text, encoding="utf-8")


def load_adapter(model: nn.Module, folder: Path) -> LoraConfig:
    """Give a `Transformer`, `LanguageModel` or `Classifier` the adapter in `folder`; return what it is like.

    A classifier's head is loaded where the model is a classifier, and left where it is if the model has none yet.

    Raises:
        WeightsError: if the folder holds no adapter, one that is damaged, does not fit, or asks for more than is known.
    """
    settings_file, weights_file = find_adapter(folder)
    settings = _read_settings(settings_file)
    network = transformer_of(model)
    tensors = _read_tensors(weights_file, network)
    _load_head(model, settings, tensors, folder)
    config = _config(settings, network, tensors, folder)
    _merge_outside(network, config, tensors, folder)
    add_adapters(network, config, seed=0)
    _fill(network, "", tensors, folder, network.name)
    return config


def merge_adapter(model: nn.Module, folder: Path) -> None:
    """Put the adapter in `folder` into the weights.

    Raises:
        WeightsError: as `load_adapter`.
    """
    load_adapter(model, folder)
    merge_adapters(transformer_of(model))


def _fill(adapted: nn.Module, name: str, tensors: Mapping[str, Tensor], folder: Path, family: str) -> None:
    """Copy tensors into the adapters of a module, which is called so, or has no name of its own."""
    parts = ((_peft_name(f"{name}{part}"), each) for part, each in adapted.named_parameters() if is_adapter(f".{part}"))
    targets = dict(parts)
    for each in sorted(targets.keys() ^ tensors.keys()):
        wrong = "lacks" if each in targets else "has"
        raise WeightsError(f"the adapter in {folder} {wrong} {each}, which does not fit the {family} it is for")
    for each, parameter in targets.items():
        _copy(each, tensors[each], parameter, folder)


def _peft_name(name: str) -> str:
    layer, _, part = name.rpartition(".")
    return f"{layer}.{PARTS[part]}"


def _settings_of(model: LanguageModel | Classifier, config: LoraConfig, base: str) -> dict[str, Any]:
    network, classifies = transformer_of(model), isinstance(model, Classifier)
    targets = adapted_layers(network, config)
    others = {*network.attention, *network.feed_forward} - {*targets}
    return {
        **DEFAULTS,
        # `peft` takes a name for the end of one: `output.dense` is that of `attention.output.dense`, too.
        "exclude_modules": [name for name in sorted(others) if name.endswith(tuple(f".{each}" for each in targets))]
        or None,
        "base_model_name_or_path": base,
        "fan_in_fan_out": bool(network.names.transposed),
        "lora_alpha": int(config.alpha) if config.alpha.is_integer() else config.alpha,
        "lora_dropout": config.dropout,
        "modules_to_save": [network.names.classifier] if classifies else None,
        "r": config.rank,
        "target_modules": sorted(targets),
        "task_type": "SEQ_CLS" if classifies else "CAUSAL_LM",
        "use_dora": config.dora,
        "use_rslora": config.rslora,
    }


def _read_settings(path: Path) -> dict[str, Any]:
    """Return what the config says, once nothing in it asks for what is not known here."""
    try:
        settings = load_json(path.read_text(encoding="utf-8"))
        kind = settings["peft_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path} is no config of an adapter; save it again") from error
    if kind != "LORA":
        raise WeightsError(f"{path} is of an adapter of type {kind}; known is LORA")
    wrong = {
        key: value
        for key, value in settings.items()
        if key not in READ | INDIFFERENT and value not in (None, False, "none", [], {})
    }
    if settings.get("init_lora_weights", True) not in BASE_STAYS:
        wrong["init_lora_weights"] = settings["init_lora_weights"]
    heads = settings.get("modules_to_save") or []
    if not isinstance(heads, list) or not all(each in HEADS for each in heads):
        wrong["modules_to_save"] = settings["modules_to_save"]
    for key, value in sorted(wrong.items()):
        raise WeightsError(f"{path} has {key}={json.dumps(value)}, which cannot be loaded here")
    return dict(settings)


def _read_tensors(path: Path, network: Transformer) -> dict[str, Tensor]:
    """Return the tensors by what their names are without what they all begin with."""
    try:
        stored = load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} cannot be read ({error}); save it again") from error
    return {name.removeprefix(PREFIX).removeprefix(network.names.prefix): each for name, each in stored.items()}


def _load_head(model: nn.Module, settings: dict[str, Any], tensors: dict[str, Tensor], folder: Path) -> None:
    """Take a classifier's head out of the tensors, into the model if it is a classifier."""
    if not settings.get("modules_to_save"):
        return
    if isinstance(model, LanguageModel):
        raise WeightsError(f"the adapter in {folder} is a classifier's (modules_to_save), the model writes texts")
    head = transformer_of(model).names.classifier
    learnt = {name.removeprefix(f"{head}."): tensors.pop(name) for name in [*tensors] if name.startswith(f"{head}.")}
    if isinstance(model, Classifier):
        if layers := sorted({name.rpartition(".")[0] for name in learnt} - {""}):
            raise WeightsError(
                f"the adapter in {folder} has a head of several layers ({head}.{layers[0]}), which classifiers here "
                "have not; name it in model.adapter, and a run begins with a head of its own"
            )
        weight, bias = learnt.get("weight"), learnt.get("bias")
        if weight is None:
            raise WeightsError(f"the adapter in {folder} lacks {head}.weight, the head that modules_to_save names")
        _copy(f"{head}.weight", weight, model.head.weight, folder)
        # The heads of decoders have none in `transformers`.
        if model.head.bias is not None:
            _copy(f"{head}.bias", torch.zeros(len(weight)) if bias is None else bias, model.head.bias, folder)


def _merge_outside(network: Transformer, config: LoraConfig, tensors: dict[str, Tensor], folder: Path) -> None:
    """Take what stands behind the blocks out of the tensors, into the weights of the layer if the network has it."""
    for layer in OUTSIDE:
        own = {name: tensors.pop(name) for name in [*tensors] if name.startswith(f"{layer}.")}
        if own and (pooler := network.pooler) is not None and layer.startswith("pooler."):
            adapted = LoraLinear(pooler.get_submodule("dense"), config, 0, layer)  # type: ignore[arg-type]
            _fill(adapted, f"{layer}.", own, folder, network.name)
            replace(pooler, "dense", adapted.merged())


def _config(settings: dict[str, Any], network: Transformer, tensors: dict[str, Tensor], folder: Path) -> LoraConfig:
    """Return the adapter's config; which layers it adapts is read off the tensors of the first block."""
    every = (*network.attention, *network.feed_forward)
    first = f"{network.names.blocks}.0"
    targets = [each for each in every if f"{first}.{each}.{PARTS['lora_a']}" in tensors]
    _check_named(targets, settings.get("target_modules"), folder)
    try:
        return LoraConfig(
            rank=settings["r"],
            alpha=settings["lora_alpha"],
            rslora=settings.get("use_rslora", False),
            dora=settings.get("use_dora", False),
            dropout=settings.get("lora_dropout", 0.0),
            targets=targets,
        )
    except KeyError as error:
        raise WeightsError(f"the config of the adapter in {folder} says no {error.args[0]}") from error
    except ValidationError as error:
        key = error.errors()[0]["loc"][0]
        if not targets:
            raise WeightsError(f"the adapter in {folder} adapts no layer of a {network.name}'s first block") from error
        raise WeightsError(
            f"the config of the adapter in {folder} is wrong: {key}: {error.errors()[0]['msg']}"
        ) from error


def _check_named(targets: Sequence[str], named: Any, folder: Path) -> None:
    """Refuse layers that a list of names leaves out, whose tensors `peft` ignores: it takes each for the end of one."""
    if not isinstance(named, list):  # a pattern, or a word for many layers
        return
    for each in targets:
        if not any(f".{each}".endswith(f".{name}") or f".{name}".endswith(f".{each}") for name in named):
            raise WeightsError(f"the adapter in {folder} has tensors of {each}, which its target_modules does not name")


def _copy(name: str, values: Tensor, parameter: Tensor, folder: Path) -> None:
    if values.shape != parameter.shape:
        shapes = f"{tuple(values.shape)} in the adapter in {folder}, the model needs {tuple(parameter.shape)}"
        raise WeightsError(f"{name} has shape {shapes}")
    check_numbers(name, values, folder)
    with torch.no_grad():
        parameter.copy_(values)
