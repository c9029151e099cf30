"""The `config.json` from which `transformers` builds a network of the same shape."""

from collections.abc import Callable, Mapping
from typing import Any

from components.core.errors import GradusError, WeightsError
from components.models.encoders import sizes as encoders
from components.models.sizes import AnySize, GPTSize, LlamaSize, Rope, size_from_settings

Settings = dict[str, Any]

CLASSES = {
    "gpt2": "GPT2",
    "llama": "Llama",
    "mistral": "Mistral",
    "qwen2": "Qwen2",
    "qwen3": "Qwen3",
    "bert": "Bert",
    "roberta": "Roberta",
    "xlm-roberta": "XLMRoberta",
    "modernbert": "ModernBert",
    "deberta-v2": "DebertaV2",
}
"""What the names of the classes of each `model_type` begin with."""
OF_ANOTHER_MODEL = {
    "_name_or_path", "architectures", "bos_token_id", "dtype", "eos_token_id", "finetuning_task", "id2label",
    "label2id", "num_labels", "problem_type", "quantization_config", "task_specific_params", "torch_dtype",
    "transformers_version",
}  # fmt: skip
"""Keys of the base model's config that say nothing of the network that is exported."""


def settings_of(size: AnySize, base: Mapping[str, Any] | None = None) -> Settings:
    """Return the keys that describe a network's shape, `model_type` among them.

    Those of the model that it was trained from, its `base`, where they describe this shape: so it keeps its type.

    Raises:
        WeightsError: if no type of `transformers` has such a shape.
    """
    if base and _describes(base, size):
        return {name: value for name, value in base.items() if name not in OF_ANOTHER_MODEL}
    found = WRITERS[type(size)](size) if type(size) in WRITERS else {}
    if _describes(found, size):
        return found
    kind = found.get("model_type", type(size).__name__)
    raise WeightsError(
        f"a model of this shape is no {kind} that transformers knows, and of no other type either: it cannot be "
        "exported"
    )


def class_of(model_type: str, task: str) -> str:
    """Return the class of `transformers` for a `model_type` and `CausalLM` or `SequenceClassification`."""
    return "GPT2LMHeadModel" if (model_type, task) == ("gpt2", "CausalLM") else f"{CLASSES[model_type]}For{task}"


def _describes(settings: Mapping[str, Any], size: AnySize) -> bool:
    try:
        return "model_type" in settings and size_from_settings(settings, "it") == size
    except GradusError:
        return False


def _gpt2(size: GPTSize) -> Settings:
    shape = {"n_layer": size.layers, "n_head": size.heads, "n_embd": size.width, "n_positions": size.context}
    return {"model_type": "gpt2", "activation_function": "gelu_new", **shape}


def _llama(size: LlamaSize) -> Settings:
    kind = "qwen3" if size.qk_norm else "qwen2" if size.qkv_bias and not size.output_bias else "llama"
    if size.windowed and kind == "llama":
        kind = "mistral"
    found = {
        "model_type": kind,
        "hidden_act": "silu",
        "hidden_size": size.width,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.kv_heads,
        "head_dim": size.head_width,
        "intermediate_size": size.mlp_width,
        "max_position_embeddings": size.context,
        "rms_norm_eps": size.norm_epsilon,
        "rope_parameters": _rope(size.rope, size.context),
        "attention_bias": size.output_bias,
        "mlp_bias": size.mlp_bias,
    }
    if kind == "mistral" and len(size.windowed) == size.layers:
        found["sliding_window"] = size.window  # with kinds of layers it would become another type
    elif size.windowed:
        kinds = [encoders.NEAR if layer in size.windowed else encoders.FAR for layer in range(size.layers)]
        found |= {"sliding_window": size.window, "use_sliding_window": True}
        found |= {"layer_types": kinds, "max_window_layers": min(size.windowed)}
    return found


def _rope(rope: Rope, context: int) -> Settings:
    found: Settings = {"rope_theta": rope.base, "rope_type": rope.scaling}
    if rope.factors:
        factors = {"short_factor": list(rope.factors), "long_factor": list(rope.factors)}
        same = {"rope_type": "longrope", "factor": 1.0, "attention_factor": 1.0}
        return {**found, **factors, **same, "original_max_position_embeddings": context}
    if rope.scaling == "default":
        return found
    found["factor"] = rope.factor
    if rope.trained:
        found["original_max_position_embeddings"] = rope.trained
    own = {
        "llama3": ("low_freq_factor", "high_freq_factor"),
        "yarn": ("beta_fast", "beta_slow", "truncate", "attention_factor"),
    }
    return found | {name: getattr(rope, name) for name in own.get(rope.scaling, ())}


def _encoder(size: encoders.EncoderSize, kind: str, context: int) -> Settings:
    return {
        "model_type": kind,
        "hidden_act": "gelu",
        "hidden_size": size.width,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "intermediate_size": size.mlp_width,
        "max_position_embeddings": context,
        "layer_norm_eps": size.norm_epsilon,
    }


def _bert(size: encoders.BertSize) -> Settings:
    return _encoder(size, "bert", size.context) | {"type_vocab_size": size.token_types}


def _roberta(size: encoders.RobertaSize) -> Settings:
    own = {"type_vocab_size": size.token_types, "pad_token_id": size.offset - 1}
    return _encoder(size, "roberta", size.context + size.offset) | own


def _deberta(size: encoders.DebertaSize) -> Settings:
    own = {**encoders.OF_DEBERTA_V3, "position_buckets": size.buckets, "max_relative_positions": size.farthest}
    return _encoder(size, "deberta-v2", size.context) | own


def _modernbert(size: encoders.ModernBertSize) -> Settings:
    bases = {encoders.FAR: size.rope_base, encoders.NEAR: size.local_rope_base}
    return {
        **_encoder(size, "modernbert", size.context),
        "hidden_activation": "gelu",
        "norm_eps": size.norm_epsilon,
        "local_attention": size.window,
        "layer_types": [encoders.NEAR if layer in size.local else encoders.FAR for layer in range(size.layers)],
        "rope_parameters": {kind: {"rope_type": "default", "rope_theta": base} for kind, base in bases.items()},
        **{name: getattr(size, name) for name in ("norm_bias", "attention_bias", "mlp_bias")},
    }


WRITERS: dict[type[AnySize], Callable[[Any], Settings]] = {
    GPTSize: _gpt2,
    LlamaSize: _llama,
    encoders.BertSize: _bert,
    encoders.RobertaSize: _roberta,
    encoders.DebertaSize: _deberta,
    encoders.ModernBertSize: _modernbert,
}
