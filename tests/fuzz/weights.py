"""Models that strangers made: GGUF files, safetensors, adapters, tokenizers, configs."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import gguf
import numpy as np
from safetensors.torch import save

from components.conversations import Entry
from components.models.config import GPTSize, LoraConfig, ModelConfig
from components.models.gpt2 import GPT2
from components.models.language_model import LanguageModel
from components.models.lora import add_adapters
from components.models.pretrained.byte_pairs import printable_bytes
from components.models.pretrained.files import weight_files
from components.models.pretrained.gguf import gguf_settings, unpack_gguf
from components.models.saved.adapter import load_adapter, save_adapter
from components.models.saved.card import LANGUAGE_MODEL, read_card
from components.models.saved.language_model import LanguageModelCard, save_gpt
from components.models.tokenizer import encode_prompts, read_tokenizer
from components.models.weights import load_weights, tensors_of
from components.prompts import TEMPLATES, PromptConfig
from tests.byte_tokenizer import VOCABULARY, byte_tokenizer
from tests.fuzz.targets import Target

SIZE = GPTSize(layers=1, heads=2, width=4, context=8)
WORDS = [*printable_bytes(), "ab", "<|end|>"]
CHAT = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] }}<|end|>{% endfor %}"


def network() -> LanguageModel:
    model = LanguageModel(GPT2(SIZE, 5))
    model.initialise(seed=0)
    return model


@cache
def scratch() -> Path:
    """Return a folder of this process, for what valid files are made from."""
    return Path(mkdtemp())


def safetensors() -> list[bytes]:
    """Return the weights of a network, and other kinds of numbers."""
    tensors = tensors_of(network())
    halves = {name: each.half() for name, each in tensors.items()}
    return [save(tensors), save(halves), save({name: each.bfloat16() for name, each in tensors.items()})]


def read_weights(folder: Path, data: bytes) -> object:
    """Read a file of weights into a network."""
    (folder / "model.safetensors").write_bytes(data)
    load_weights(network(), folder)
    return None


def read_index(folder: Path, data: bytes) -> object:
    """Read which files hold weights."""
    (folder / "model.safetensors.index.json").write_bytes(data)
    (folder / "model-1.safetensors").touch()
    found = weight_files(folder)
    assert all(path.parent == folder for path in found)
    return found


def adapter(name: str) -> Callable[[Path, bytes], object]:
    """Return what reads an adapter, of which one file is given."""

    def parse(folder: Path, data: bytes) -> object:
        shutil.copytree(saved_adapter(), folder / "adapter")
        (folder / "adapter" / name).write_bytes(data)
        return load_adapter(network(), folder / "adapter")

    return parse


@cache
def saved_adapter() -> Path:
    model, config = network(), LoraConfig(rank=2)
    add_adapters(model.transformer, config, seed=0)
    save_adapter(model, config, "gpt2", scratch() / "adapter")
    return scratch() / "adapter"


def gguf_file(kind: str) -> bytes:
    """Return a small model in a GGUF file."""
    path = scratch() / f"{kind}.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    merges = ["a b"]
    for name, number in {
        "embedding_length": 32, "block_count": 1, "attention.head_count": 2, "attention.head_count_kv": 2,
        "feed_forward_length": 32, "context_length": 8,
    }.items():  # fmt: skip
        writer.add_uint32(f"llama.{name}", number)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_string("tokenizer.ggml.model", kind)
    writer.add_array("tokenizer.ggml.tokens", WORDS)
    writer.add_array("tokenizer.ggml.token_type", [1] * (len(WORDS) - 1) + [3])
    if kind == "gpt2":
        writer.add_array("tokenizer.ggml.merges", merges)
    else:
        writer.add_array("tokenizer.ggml.scores", [0.0] * len(WORDS))
    writer.add_uint32("tokenizer.ggml.eos_token_id", len(WORDS) - 1)
    writer.add_tensor("token_embd.weight", np.ones((len(WORDS), 32), np.float16))
    writer.add_tensor("output_norm.weight", np.ones(32, np.float32))
    quants = gguf.quants.quantize(np.ones((32, 32), np.float32), gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("blk.0.attn_q.weight", quants, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


def read_gguf(folder: Path, data: bytes) -> object:
    """Unpack a GGUF file."""
    (path := folder / "model.gguf").write_bytes(data)
    (out := folder / "out").mkdir()
    unpack_gguf(path, out)
    return gguf_settings(path)


def tokenizer_files() -> dict[str, bytes]:
    """Return the files of a tokenizer in the layout of `transformers`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    library = Tokenizer(models.BPE({word: number for number, word in enumerate(WORDS)}, [("a", "b")]))
    library.pre_tokenizer, library.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    library.add_special_tokens(["<|end|>"])
    return {
        "tokenizer.json": library.to_str().encode(),
        "tokenizer_config.json": json.dumps({"eos_token": "<|end|>", "chat_template": CHAT}).encode(),
        "config.json": b'{"model_type": "gpt2", "vocab_size": 300, "eos_token_id": 257}',
    }


def own_files() -> Mapping[str, bytes]:
    """Return the files of a language model that Gradus saved."""
    (folder := scratch() / "own").mkdir(exist_ok=True)
    model = LanguageModel(GPT2(SIZE, VOCABULARY))
    model.initialise(seed=0)
    save_gpt(folder, model, byte_tokenizer(), TEMPLATES["alpaca"])
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def tokenizer(name: str, files: Callable[[], Mapping[str, bytes]]) -> Callable[[Path, bytes], object]:
    """Return what reads a tokenizer, of which one file is given, and uses it."""

    def parse(folder: Path, data: bytes) -> object:
        for each, content in {**kept(files), name: data}.items():
            (folder / each).write_bytes(content)
        encoding = read_tokenizer(folder)
        tokens = encoding.encode_ordinary("abc <|end|> 안녕 \ud800\n")
        encoding.decode(tokens)
        template = PromptConfig(template="chat" if hasattr(encoding, "chat_template") else "alpaca").resolved(encoding)
        return encode_prompts(encoding, template, [Entry("Name a colour.", "ab")])

    return parse


@cache
def kept(files: Callable[[], Mapping[str, bytes]]) -> Mapping[str, bytes]:
    return files()


def read_config(folder: Path, data: bytes) -> object:
    """Read the shape of a network."""
    (folder / "config.json").write_bytes(data)
    (folder / "model.safetensors").touch()
    config = ModelConfig(weights=str(folder))
    return config.shape, config.tied


def own_card(folder: Path, data: bytes) -> object:
    """Read the card of a model that Gradus saved."""
    (folder / "model.json").write_bytes(data)
    (folder / "model.safetensors").touch()
    return read_card(folder, LanguageModelCard, LANGUAGE_MODEL), ModelConfig(weights=str(folder)).shape


SHAPES: Sequence[dict[str, object]] = (
    {"model_type": "gpt2", "n_embd": 4, "n_head": 2, "n_layer": 1, "n_positions": 8},
    {"model_type": "llama", "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 8,
     "max_position_embeddings": 8, "rms_norm_eps": 1e-5,
     "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}},
    {"model_type": "bert", "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 8,
     "max_position_embeddings": 8, "type_vocab_size": 2},
)  # fmt: skip
TARGETS = {
    "safetensors": Target(read_weights, safetensors),
    "index": Target(read_index, lambda: [b'{"metadata": {}, "weight_map": {"a": "model-1.safetensors"}}']),
    "gguf": Target(read_gguf, lambda: [gguf_file("gpt2"), gguf_file("llama")]),
    "adapter": Target(
        adapter("adapter_model.safetensors"), lambda: [(saved_adapter() / "adapter_model.safetensors").read_bytes()]
    ),
    "adapter-config": Target(
        adapter("adapter_config.json"), lambda: [(saved_adapter() / "adapter_config.json").read_bytes()]
    ),
    **{
        name: Target(tokenizer(name, tokenizer_files), lambda name=name: [kept(tokenizer_files)[name]])  # type: ignore[misc]
        for name in ("tokenizer.json", "tokenizer_config.json")
    },
    **{
        f"own-{name}": Target(tokenizer(name, own_files), lambda name=name: [kept(own_files)[name]])  # type: ignore[misc]
        for name in ("tokenizer.json", "vocabulary.tiktoken")
    },
    "config.json": Target(read_config, lambda: [json.dumps(shape).encode() for shape in SHAPES]),
    "model.json": Target(own_card, lambda: [kept(own_files)["model.json"]]),
}
