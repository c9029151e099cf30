"""Models in llama.cpp's GGUF files, turned into a folder in the layout of `transformers`.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import json
import math
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from components.core.errors import GradusError, WeightsError
from components.core.room import is_full, require_room
from components.models.pretrained.files import INDEX, WEIGHTS_FILE
from components.models.pretrained.gguf_names import NAMES
from components.models.pretrained.gguf_tokenizer import write_tokenizer_files

if TYPE_CHECKING:
    from gguf import GGUFReader, ReaderTensor

QUANTISED = ("Q8_0", "Q4_0", "Q4_1", "Q4_K", "Q6_K")
"""How weights may be rounded, besides whole numbers of `WHOLE`."""
WHOLE = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
SHARD_BYTES = 2_000_000_000
"""Bytes of weights in memory at once; each such part is a file."""
ROPE_FACTORS = "rope_freqs.weight"
"""The tensor of what Llama 3's files divide each frequency by."""

SCALES = ("attention.scale", "rope.scaling.attn_factor", "rope.scaling.yarn_log_multiplier")
"""By what llama.cpp multiplies scores of attention besides, where a file says so."""


def unpack_gguf(path: Path, folder: Path, shard_bytes: int = SHARD_BYTES) -> None:
    """Write what a GGUF file holds into `folder`: `config.json`, safetensors, and the tokenizer's files.

    Rounded weights become fp32, others keep their type. llama.cpp stores the rows of a Llama's queries and keys in the
    order of its own rotary form; here they are put back.

    Raises:
        WeightsError: if the file is damaged or cut off, or holds a model, a rounding or a tokenizer that is not known.
    """
    reader = _open(path)
    with _damage_as_a_line(path):
        settings = read_settings(reader, path)
        (folder / "config.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
        write_tokenizer_files({name: value for name, value in _values(reader) if "tokenizer" in name}, folder, path)
    require_room(folder, sum(_bytes(tensor) for tensor in reader.tensors))
    shards = list(_shards(reader, shard_bytes))
    places: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        with _damage_as_a_line(path):
            tensors = {_name(each.name, settings, path): _weights(each, settings, path) for each in shard}
        name = WEIGHTS_FILE if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        save_file(tensors, folder / name, metadata={"format": "pt"})
        places |= dict.fromkeys(tensors, name)
    if len(shards) > 1:
        (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}, indent=1), encoding="utf-8")


def gguf_settings(path: Path) -> dict[str, Any]:
    """Return the `config.json` that `unpack_gguf` would write.

    Raises:
        WeightsError: as `unpack_gguf`.
    """
    with _damage_as_a_line(path):
        return read_settings(_open(path), path)


@contextmanager
def _damage_as_a_line(path: Path) -> Iterator[None]:
    """Turn what any library says of bytes that make no sense into one line."""
    try:
        yield
    except Exception as error:
        if isinstance(error, GradusError | OSError) or is_full(error):
            raise
        why = (str(error).splitlines() or [""])[0][:200]
        raise WeightsError(f"{path} is damaged ({type(error).__name__}: {why}); fetch it again") from error


def _open(path: Path) -> "GGUFReader":
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFReader

    class Reader(GGUFReader):
        """Says in our words that a file ends too early, before numpy does in its own."""

        def _build_tensors(self, start_offs: int, fields: Any) -> None:
            places: list[tuple[int, int]] = []
            for *_, dims, kind, offset in (field.parts for field in fields):
                block, size = GGML_QUANT_SIZES[GGMLQuantizationType(kind[0])]
                start = int(start_offs) + int(offset[0])
                places.append((start, start + math.prod(dims.tolist()) * size // block))
            if (needed := max((end for _, end in places), default=0)) > (there := path.stat().st_size):
                raise WeightsError(f"{path} is cut off: it has {there:,} of {needed:,} bytes; fetch it again")
            if any(start < end for (_, end), (start, _) in pairwise(sorted(places))):
                raise WeightsError(f"{path} is damaged: its tensors lie in one another; fetch it again")
            super()._build_tensors(start_offs, fields)

    try:
        with np.errstate(all="ignore"):  # sizes that a damaged file makes up
            return Reader(path)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}; check model.weights") from error
    except (ValueError, IndexError, KeyError, ArithmeticError, MemoryError, struct.error) as error:
        raise WeightsError(
            f"{path} is no whole GGUF file: its {path.stat().st_size:,} bytes are of another kind, damaged, or end "
            "within the header; check model.weights, or fetch it again"
        ) from error


def _values(reader: "GGUFReader") -> Iterator[tuple[str, Any]]:
    return ((name, field.contents()) for name, field in reader.fields.items())


def read_settings(reader: "GGUFReader", path: Path) -> dict[str, Any]:
    """Return what `config.json` of the same model in the layout of `transformers` says."""
    given = {name: value for name, value in _values(reader) if not name.startswith("tokenizer.ggml.tok")}
    kind = given.get("general.architecture")
    if kind not in NAMES:
        raise WeightsError(f"{path} holds a model of the architecture {kind}; known are {', '.join(NAMES)}")

    def value(name: str, default: Any = None) -> Any:
        found = given.get(f"{kind}.{name}", default)
        if found is None:
            raise WeightsError(f"{path} does not say {kind}.{name}: it is no whole model; fetch it again")
        if isinstance(found, list):
            raise WeightsError(f"{path} has layers of several shapes ({kind}.{name}); choose a model of like layers")
        return found

    if given.get("split.count", 1) > 1:
        raise WeightsError(f"{path} is one of {given['split.count']} parts; join them with `llama-gguf-split --merge`")

    if value("expert_count", 0):
        raise WeightsError(f"{path} holds a mixture of experts, which is not known here; choose a dense model")
    heads, width = value("attention.head_count"), value("embedding_length")
    head_width = value("attention.key_length", width // heads)
    if value("rope.dimension_count", head_width) != head_width:
        raise WeightsError(f"{path} has rotary positions of a part of each head, which are not known here")
    for name in SCALES:
        if value(name, 1.0) not in (0.0, 1.0):
            raise WeightsError(f"{path} says {kind}.{name}, which is not known here; choose a model without")
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    if "token_embd.weight" not in tensors or len(tensors["token_embd.weight"].shape) != 2:
        raise WeightsError(f"{path} holds no token embedding: it is no whole model; fetch it again")
    common = _common(given, tensors)
    if kind == "gpt2":
        return common | _gpt2(value, path)
    return {
        **common,
        "hidden_size": width,
        "num_hidden_layers": value("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": value("attention.head_count_kv", heads),
        "head_dim": head_width,
        "intermediate_size": value("feed_forward_length"),
        "max_position_embeddings": value("context_length"),
        "rms_norm_eps": value("attention.layer_norm_rms_epsilon"),
        "rope_parameters": _rope(given, str(kind), tensors),
        "attention_bias": kind == "llama" and "blk.0.attn_q.bias" in tensors,
        "mlp_bias": "blk.0.ffn_up.bias" in tensors,
    }


def _common(given: Mapping[str, Any], tensors: "Mapping[str, ReaderTensor]") -> dict[str, Any]:
    """Return what the config of every family says."""
    ends = [given[key] for name in ("eos", "eot") if (key := f"tokenizer.ggml.{name}_token_id") in given]
    return {
        "model_type": given["general.architecture"],
        "vocab_size": int(tensors["token_embd.weight"].shape[1]),
        "tie_word_embeddings": "output.weight" not in tensors,
        "bos_token_id": given.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": list(dict.fromkeys(ends)),
    }


def _gpt2(value: Callable[[str], Any], path: Path) -> dict[str, Any]:
    """Return what the config of GPT-2 says besides."""
    width, epsilon = value("embedding_length"), value("attention.layer_norm_epsilon")
    if value("feed_forward_length") != 4 * width or abs(epsilon - 1e-5) > 1e-8:
        raise WeightsError(f"{path} holds a GPT-2 of another shape than OpenAI's, which is not known here")
    shape = {"n_layer": "block_count", "n_head": "attention.head_count", "n_positions": "context_length"}
    return {"n_embd": width} | {name: value(key) for name, key in shape.items()}


def _rope(given: Mapping[str, Any], kind: str, tensors: "Mapping[str, ReaderTensor]") -> dict[str, Any]:
    scaling = f"{kind}.rope.scaling"
    # 0 is none, as in llama.cpp.
    factor = given.get(f"{scaling}.factor") or given.get(f"{kind}.rope.scale_linear") or 1.0
    way = str(given.get(f"{scaling}.type", "none" if factor == 1 else "linear"))
    found: dict[str, Any] = {
        "rope_theta": given.get(f"{kind}.rope.freq_base", 10_000.0),
        "rope_type": {"none": "default"}.get(way, way),
        "factor": factor,
    }
    named = {"original_context_length": "original_max_position_embeddings"}
    named |= {"yarn_beta_fast": "beta_fast", "yarn_beta_slow": "beta_slow"}
    found |= {name: given[f"{scaling}.{key}"] for key, name in named.items() if f"{scaling}.{key}" in given}
    if ROPE_FACTORS in tensors:  # the words of `transformers` for them; the same for short and for long texts
        factors = [float(each) for each in tensors[ROPE_FACTORS].data]
        found |= {"rope_type": "longrope", "short_factor": factors, "long_factor": factors}
        found |= {"factor": 1.0, "attention_factor": 1.0}
        found |= {"original_max_position_embeddings": given[f"{kind}.context_length"]}
    return found


def _shards(reader: "GGUFReader", most: int) -> "Iterator[list[ReaderTensor]]":
    """Yield the tensors, some at a time, so that few are in memory at once."""
    shard: list[ReaderTensor] = []
    for tensor in reader.tensors:
        if shard and sum(map(_bytes, (*shard, tensor))) > most:
            yield shard
            shard = []
        if tensor.name != ROPE_FACTORS:
            shard.append(tensor)
    yield shard


def _bytes(tensor: "ReaderTensor") -> int:
    return int(tensor.n_elements) * (2 if tensor.tensor_type.name in ("F16", "BF16") else 4)


def _name(name: str, settings: Mapping[str, Any], path: Path) -> str:
    """Return what `transformers` calls a tensor."""
    if found := NAMES[settings["model_type"]].in_transformers(name):
        return found
    raise WeightsError(f"{path} holds a tensor {name}, which is not known here; choose another model")


def _weights(tensor: "ReaderTensor", settings: Mapping[str, Any], path: Path) -> Tensor:
    """Return a tensor as `transformers` has it."""
    from gguf.quants import dequantize

    kind, shape = tensor.tensor_type.name, [int(each) for each in reversed(tensor.shape)]
    if kind in WHOLE:
        raw = np.ascontiguousarray(tensor.data).view(np.uint8).reshape(-1)
        weights = torch.from_numpy(raw.copy()).view(WHOLE[kind]).view(shape)
    elif kind in QUANTISED:
        weights = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type)).view(shape)
    else:
        known = ", ".join((*WHOLE, *QUANTISED))
        raise WeightsError(f"{path} holds {tensor.name} rounded to {kind}; known are {known}; take such a file")
    part = tensor.name.split(".")[-2]
    if part in NAMES[settings["model_type"]].transposed and weights.dim() == 2:
        weights = weights.t()
    if settings["model_type"] == "llama" and part in ("attn_q", "attn_k"):
        heads = settings["num_attention_heads" if part == "attn_q" else "num_key_value_heads"]
        weights = weights.view(heads, shape[0] // heads // 2, 2, -1).transpose(1, 2).reshape(shape)
    return weights.contiguous()
