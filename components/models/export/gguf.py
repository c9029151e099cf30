"""A language model as a GGUF file of llama.cpp: shape, weights, tokenizer and chat template in one.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import copy
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from components.core.errors import WeightsError
from components.core.room import require_room
from components.models.export.gguf_tokens import tokenizer_keys
from components.models.export.hf import Loaded, base_settings
from components.models.export.settings import class_of, settings_of
from components.models.export.templates import chat_template
from components.models.llama import frequencies
from components.models.pretrained.gguf import ROPE_FACTORS
from components.models.pretrained.gguf_names import NAMES
from components.models.saved.language_model import LoadedGPT
from components.models.sizes import AnySize, GPTSize, LlamaSize, Rope
from components.models.weights import tensors_of

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType, GGUFWriter

Rounding = Literal["f16", "bf16", "q8_0", "q4_0"]
FILE_TYPES: dict[Rounding, int] = {"f16": 1, "q4_0": 2, "q8_0": 7, "bf16": 32}
"""What `general.file_type` calls each rounding."""
BLOCK = 32
"""Weights of a row that are rounded together; rows of other lengths become F16."""
VOCABULARY_WIDE = ("token_embd.weight", "output.weight")
"""Tensors that Q4_0 rounds to Q8_0: they lose most by it."""
IN_FULL = ("position_embd.weight", ROPE_FACTORS)
"""Tensors that stay F32, as do those of one dimension."""

Keys = dict[str, Any]


def write_gguf(loaded: Loaded, path: Path, rounding: Rounding, notes: list[str]) -> None:
    """Write a language model into the file `path`; what is notable of it is added to `notes`.

    Raises:
        WeightsError: if llama.cpp cannot run such a model.
        NoRoom: if the disk has no room.
    """
    from gguf import GGUFWriter

    if not isinstance(loaded, LoadedGPT):
        raise WeightsError(
            "llama.cpp runs language models, and this is a classifier: export it with --to hf, or serve it with Gradus"
        )
    arch, keys = _shape(loaded, notes)
    keys |= {f"tokenizer.{name}": value for name, value in tokenizer_keys(loaded.encoding).items()}
    keys["tokenizer.chat_template"] = chat_template(loaded.card.template, loaded.encoding)
    keys |= {"general.file_type": FILE_TYPES[rounding], "general.quantization_version": 2}
    require_room(path.parent, 2 * sum(each.numel() for each in loaded.model.parameters()))
    writer = GGUFWriter(path, arch)
    _add_keys(writer, keys)
    for name, tensor in _tensors(loaded, arch):
        kind = _kind(name, tensor, rounding)
        writer.add_tensor(name, _rounded(tensor, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def rounded_copy(loaded: LoadedGPT, rounding: Rounding) -> LoadedGPT:
    """Return a language model whose weights are those that a file holds once they are rounded."""
    from gguf import quants

    arch, _ = _shape(loaded, [])
    copied = replace(loaded, model=copy.deepcopy(loaded.model).cpu())
    for name, tensor in _in_rows(copied, arch):
        kind = _kind(name, tensor, rounding)
        # What is rounded together lies in one row, whatever the order of rows. It is put where it was.
        tensor.copy_(torch.from_numpy(quants.dequantize(_rounded(tensor, kind), kind)).view(tensor.shape))
    return copied


def _shape(loaded: LoadedGPT, notes: list[str]) -> tuple[str, Keys]:
    """Return the architecture and the keys that describe the network."""
    size = loaded.card.size
    kind = settings_of(size, base_settings(loaded.encoding))["model_type"]
    arch = "llama" if kind == "mistral" else kind
    if arch not in NAMES:
        raise WeightsError(f"llama.cpp is not known to run {class_of(kind, 'CausalLM')}; export it with --to hf")
    values: Keys = {
        "block_count": size.layers,
        "context_length": context_of(size),
        "embedding_length": size.width,
        "attention.head_count": size.heads,
        "vocab_size": loaded.encoding.n_vocab,
    }
    if isinstance(size, GPTSize):
        values |= {"feed_forward_length": 4 * size.width, "attention.layer_norm_epsilon": 1e-5}
    elif isinstance(size, LlamaSize):
        values |= _llama(size, kind, notes)
    return arch, {f"{arch}.{name}": value for name, value in values.items()}


def context_of(size: AnySize) -> int:
    """Return how many tokens llama.cpp may see: no more than a sliding window, which it does not know."""
    window = size.window if isinstance(size, LlamaSize) and size.windowed else None
    return min(size.context, window or size.context)


def _llama(size: LlamaSize, kind: str, notes: list[str]) -> Keys:
    found: Keys = {
        "attention.head_count_kv": size.kv_heads,
        "attention.key_length": size.head_width,
        "attention.value_length": size.head_width,
        "attention.layer_norm_rms_epsilon": size.norm_epsilon,
        "feed_forward_length": size.mlp_width,
        "rope.dimension_count": size.head_width,
        "rope.freq_base": float(size.rope.base),
        **_rope(size.rope, kind),
    }
    if context_of(size) < size.context:
        notes.append(
            f"llama.cpp knows no sliding window for {kind}: the context is cut from {size.context:,} to the window's "
            f"{size.window:,} tokens, within which both compute the same"
        )
    return found


def _rope(rope: Rope, kind: str) -> Keys:
    """Return the keys of stretched positions; those of Llama 3 are a tensor.

    Raises:
        WeightsError: if llama.cpp has no place for them.
    """
    if rope.scaling == "yarn" and not (rope.truncate and math.isclose(rope.attention_factor, _scale(rope.factor))):
        raise WeightsError(
            "llama.cpp has no yarn positions with truncate=false, or with a factor of attention of their own; export "
            "the model with --to hf"
        )
    if (rope.scaling == "llama3" or rope.factors) and kind not in ("llama", "mistral"):
        raise WeightsError(f"llama.cpp has no llama3 positions for {kind}; export the model with --to hf")
    if rope.scaling not in ("linear", "yarn"):
        return {}
    found: Keys = {"rope.scaling.type": rope.scaling, "rope.scaling.factor": float(rope.factor)}
    if rope.scaling == "yarn":
        found["rope.scaling.original_context_length"] = rope.trained
        found["rope.scaling.yarn_beta_fast"] = float(rope.beta_fast)
        found["rope.scaling.yarn_beta_slow"] = float(rope.beta_slow)
    return found


def _scale(factor: float) -> float:
    """Return what llama.cpp multiplies rotated queries and keys by (Peng et al. 2023)."""
    return 0.1 * math.log(factor) + 1.0 if factor > 1 else 1.0


def _tensors(loaded: LoadedGPT, arch: str) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors under the names of the file, in fp32; queries and keys in the order of llama.cpp's rotary form.

    It turns neighbours, and `transformers` halves of a head: for a Llama its converter puts halves beside each other.
    """
    size = loaded.card.size
    heads = {"attn_q": size.heads, "attn_k": size.kv_heads} if arch == "llama" else {}
    for name, tensor in _in_rows(loaded, arch):
        count = heads.get(name.split(".")[-2])
        yield name, _neighbouring(tensor, count) if count else tensor
    if isinstance(size, LlamaSize) and (size.rope.scaling == "llama3" or size.rope.factors):
        plain = frequencies(Rope(base=size.rope.base), size.head_width)
        yield ROPE_FACTORS, plain / frequencies(size.rope, size.head_width)


def _in_rows(loaded: LoadedGPT, arch: str) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors under the names of the file, in fp32, a row an output; on the CPU they are the model's own."""
    names = NAMES[arch]
    for name, tensor in tensors_of(loaded.model).items():
        ours = names.in_gguf(name)
        turned = ours.split(".")[-2] in names.transposed and tensor.dim() == 2
        yield ours, tensor.t() if turned else tensor


def _neighbouring(tensor: Tensor, heads: int) -> Tensor:
    """Return the rows of queries or keys, (heads x d, ...), with those beside each other that are turned together."""
    rows, *rest = tensor.shape
    return tensor.reshape(heads, 2, rows // heads // 2, *rest).transpose(1, 2).reshape(tensor.shape)


def _kind(name: str, tensor: Tensor, rounding: Rounding) -> "GGMLQuantizationType":
    """Return what a tensor is rounded to."""
    from gguf import GGMLQuantizationType as Kind

    if tensor.dim() == 1 or name in IN_FULL:
        return Kind.F32
    if rounding in ("q8_0", "q4_0") and tensor.shape[-1] % BLOCK:
        return Kind.F16
    if rounding == "q4_0" and name in VOCABULARY_WIDE:
        return Kind.Q8_0
    return Kind[rounding.upper()]


def _rounded(tensor: Tensor, kind: "GGMLQuantizationType") -> "np.ndarray[Any, Any]":
    from gguf import quants

    values = np.ascontiguousarray(tensor.to(torch.float32).numpy())
    found: np.ndarray[Any, Any] = quants.quantize(values, kind)
    return found


def _add_keys(writer: "GGUFWriter", keys: Keys) -> None:
    for name, value in keys.items():
        match value:
            case bool():
                writer.add_bool(name, value)
            case int():
                writer.add_uint32(name, value)
            case float():
                writer.add_float32(name, value)
            case str():
                writer.add_string(name, value)
            case list():
                writer.add_array(name, value)
