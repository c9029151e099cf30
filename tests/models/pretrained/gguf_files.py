"""Small GGUF files as llama.cpp's converter writes them, and the same weights for `transformers`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf.quants import dequantize, quantize
from transformers import AutoConfig, AutoModelForCausalLM

VOCABULARY = 300
Kind = gguf.GGMLQuantizationType
Arrays = dict[str, np.ndarray]

NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip


def peer(family: str, tied: bool = True, width: int = 64, **values: Any) -> Any:
    """Return a small network of `transformers` with weights that tell: biases and norms too."""
    config = AutoConfig.for_model(
        family, vocab_size=VOCABULARY, hidden_size=width, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=width // 4, intermediate_size=2 * width, max_position_embeddings=64,
        tie_word_embeddings=tied, rms_norm_eps=1e-5, rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
        bos_token_id=0, eos_token_id=0, **values,
    )  # fmt: skip
    torch.manual_seed(5)
    model = AutoModelForCausalLM.from_config(config)
    for name, parameter in model.named_parameters():
        middle = 1.0 if "norm" in name else 0.0
        torch.nn.init.normal_(parameter, mean=middle, std=0.2)
    return model.eval()


def permuted(rows: np.ndarray, heads: int) -> np.ndarray:
    """Return rows of queries or keys in the order of llama.cpp's rotary form, as its converter does."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def short(name: str) -> str:
    part, _, kind = name.rpartition(".")
    if part.startswith("model.layers."):
        _, _, layer, inner = part.split(".", 3)
        return f"blk.{layer}.{NAMES[inner]}.{kind}"
    return f"{NAMES[part]}.{kind}"


def tensors_of(model: Any) -> Arrays:
    """Return a network's weights under llama.cpp's names, in its order."""
    heads = {"q_proj": model.config.num_attention_heads, "k_proj": model.config.num_key_value_heads}
    found: Arrays = {}
    for name, parameter in model.named_parameters():
        rows, part = parameter.detach().numpy(), name.split(".")[-2]
        turned = model.config.model_type == "llama" and part in heads
        found[short(name)] = permuted(rows, heads[part]) if turned else rows
    return found


def rounded(tensor: np.ndarray, kind: Kind) -> np.ndarray:
    """Return the bytes of a tensor in a rounding; of those that the library cannot make, some that it can read."""
    if kind == Kind.F32:
        return np.ascontiguousarray(tensor, dtype=np.float32)
    if kind == Kind.F16:
        return tensor.astype(np.float16)
    if kind not in (Kind.Q4_K, Kind.Q6_K, Kind.Q2_K):
        return quantize(np.ascontiguousarray(tensor, dtype=np.float32), kind)
    block, size = gguf.GGML_QUANT_SIZES[kind]
    drawn = np.random.default_rng(tensor.size)
    blocks = drawn.integers(0, 256, (tensor.size // block, size), dtype=np.uint8)
    scale = np.frombuffer(np.float16(0.0002).tobytes(), dtype=np.uint8)
    if kind == Kind.Q4_K:
        blocks[:, :2] = blocks[:, 2:4] = scale
    else:
        blocks[:, -2:] = scale
    return blocks.reshape(*tensor.shape[:-1], -1)


def vocabulary() -> tuple[list[str], list[int], list[str]]:
    """Return tokens, their kinds and merges: bytes, an end of text, some words."""
    letters = sorted(gguf_bytes().values())
    words, merges = [], []
    for first in "abcdefgh":
        for second in "aeiou":
            words.append(first + second)
            merges.append(f"{first} {second}")
    tokens = ["<|endoftext|>", *letters, *words]
    more = [f"<|unused_{number}|>" for number in range(VOCABULARY - len(tokens))]
    return [*tokens, *more], [3, *[1] * (len(letters) + len(words)), *[3] * len(more)], merges


def gguf_bytes() -> dict[int, str]:
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    found: dict[int, str] = bytes_to_unicode()
    return found


def write(
    path: Path,
    model: Any,
    kind: Kind | Callable[[str], Kind] = Kind.F32,
    tensors: Mapping[str, np.ndarray] | None = None,
    **keys: Any,
) -> Arrays:
    """Write a network into a GGUF file; return what its tensors are once they are rounded.

    `keys` are written in place of those that follow from the network, or left out where they are None.
    """
    config = model.config
    writer = gguf.GGUFWriter(path, keys.pop("architecture", config.model_type))
    values: dict[str, Any] = {
        "embedding_length": config.hidden_size, "block_count": config.num_hidden_layers,
        "attention.head_count": config.num_attention_heads, "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": config.head_dim, "feed_forward_length": config.intermediate_size,
        "context_length": config.max_position_embeddings, "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "rope.freq_base": config.rope_parameters["rope_theta"], "rope.dimension_count": config.head_dim,
    }  # fmt: skip
    tokens, kinds, merges = vocabulary()
    given = {f"{writer.arch}.{name}": value for name, value in values.items()}
    given |= {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm", "tokenizer.ggml.tokens": tokens}
    given |= {"tokenizer.ggml.token_type": kinds, "tokenizer.ggml.merges": merges, "tokenizer.ggml.eos_token_id": 0}
    add_keys(writer, given | keys)
    exact = add_tensors(writer, {**tensors_of(model), **(tensors or {})}, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return exact


def add_keys(writer: gguf.GGUFWriter, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
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


def add_tensors(
    writer: gguf.GGUFWriter, tensors: Mapping[str, np.ndarray], kind: Kind | Callable[[str], Kind]
) -> Arrays:
    exact: Arrays = {}
    for name, tensor in tensors.items():
        its = Kind.F32 if tensor.ndim == 1 else kind(name) if callable(kind) else kind
        raw = rounded(tensor, its)
        writer.add_tensor(name, raw, raw_dtype=its)
        exact[name] = dequantize(raw, its).reshape(tensor.shape) if its != Kind.Q2_K else tensor
    return exact


def put_in(model: Any, exact: Mapping[str, np.ndarray]) -> None:
    """Give a network of `transformers` the rounded weights of a file, its queries and keys in its own order."""
    heads = {"q_proj": model.config.num_attention_heads, "k_proj": model.config.num_key_value_heads}
    for name, parameter in model.named_parameters():
        rows, part = exact[short(name)], name.split(".")[-2]
        if model.config.model_type == "llama" and part in heads:
            rows = unpermuted(rows, heads[part])
        parameter.data = torch.from_numpy(np.array(rows, dtype=np.float32))


def unpermuted(rows: np.ndarray, heads: int) -> np.ndarray:
    order = permuted(np.arange(rows.shape[0]), heads)
    found = np.empty_like(rows)
    found[order] = rows
    return found
