"""What loads an exported model again: `transformers` and `peft` where they are installed, else Gradus's own reader."""

import json
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from components.core import versions
from components.core.errors import ExportFailed
from components.models.classifier import Classifier
from components.models.config import ModelConfig
from components.models.export.hf import Loaded
from components.models.export.parity import Peer
from components.models.pretrained.byte_pairs import PROBE
from components.models.pretrained.files import WEIGHTS_FILE
from components.models.pretrained.gguf import unpack_gguf
from components.models.saved.classifier import LoadedClassifier
from components.models.tokenizer import encode_whole, read_tokenizer
from components.models.weights import make_gpt, make_transformer

OURS = "Gradus's own reader"


def installed(library: str) -> str | None:
    """Return the name and version of a library, None where it is not installed."""
    version = versions.installed(library)
    return version and f"{library} {version}"


def peer_of_folder(loaded: Loaded, folder: Path) -> Peer:
    """Load a model in the layout of `transformers`, and compare its tokenizer with the original's.

    Raises:
        ExportFailed: if the tokenizer encodes a text otherwise.
    """
    name = installed("transformers")
    return _transformers(loaded, folder, name) if name else _own(loaded, folder)


def _transformers(loaded: Loaded, folder: Path, name: str) -> Peer:
    from transformers import AutoTokenizer

    _hush()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    _compare_tokenizers(loaded, lambda text: tokenizer(text, split_special_tokens=True)["input_ids"], name)
    return _peer(_auto(loaded, folder), name, not isinstance(loaded, LoadedClassifier))


def peer_of_peft(loaded: Loaded, base: Path, adapter: Path, bias: bool) -> Peer:
    """Load an adapter by `peft` on its base in the layout of `transformers`, whose head gets a `bias` if need be."""
    from peft import PeftModel

    network = _auto(loaded, base)
    if bias:
        network.score = nn.Linear(network.score.in_features, network.score.out_features)
    with warnings.catch_warnings(action="ignore"):  # of what it calls in transformers
        model = PeftModel.from_pretrained(network, adapter).eval()
    return _peer(model, f"{installed('peft')}", False)


def _auto(loaded: Loaded, folder: Path) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    _hush()
    if not isinstance(loaded, LoadedClassifier):
        writer: Any = AutoModelForCausalLM
        return writer.from_pretrained(folder, dtype=torch.float32).eval()
    labels = len(loaded.card.labels)
    auto: Any = AutoModelForSequenceClassification
    return auto.from_pretrained(folder, dtype=torch.float32, num_labels=labels).eval()


def _hush() -> None:
    """Let `transformers` show no bars and no warnings: what matters is compared."""
    from transformers.utils import logging

    library: Any = logging
    library.disable_progress_bar()
    library.set_verbosity_error()


def _peer(model: Any, name: str, generates: bool) -> Peer:
    """Return a model of `transformers` as what is compared."""

    @torch.inference_mode()
    def logits(tokens: list[int]) -> Tensor:
        found: Tensor = model(torch.tensor([tokens])).logits[0]
        return found

    @torch.inference_mode()
    def generate(tokens: list[int], most: int) -> list[int]:
        ids = torch.tensor([tokens])
        found = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=most, do_sample=False)
        new: list[int] = found[0, len(tokens) :].tolist()
        return new

    return Peer(name, logits, generate if generates else None)


def _own(loaded: Loaded, folder: Path) -> Peer:
    encoding = read_tokenizer(folder)
    _compare_tokenizers(loaded, lambda text: encode_whole(encoding, [text])[0], OURS)
    config = ModelConfig(weights=str(folder), size="auto", vocabulary="auto")
    if not isinstance(loaded, LoadedClassifier):
        return peer_of_model(make_gpt(config, encoding.n_vocab, folder, seed=0))
    network = make_transformer(config, encoding.n_vocab, folder, seed=0)
    card = loaded.card
    model = Classifier(network, len(card.labels), card.pooling, causal=card.causal, bias=False)
    head = _head(load_file(folder / WEIGHTS_FILE), json.loads((folder / "config.json").read_text(encoding="utf-8")))
    model.head = nn.Linear(network.size.width, network.size.width, bias=False)
    nn.init.eye_(model.head.weight)  # what it says is what was pooled
    pooled = peer_of_model(model)
    head.requires_grad_(False)
    return Peer(OURS, lambda tokens: head(pooled.logits(tokens)))


def peer_of_gguf(loaded: Loaded, path: Path) -> Peer:
    """Load a GGUF file by Gradus's own reader, and compare its tokenizer with the original's.

    Raises:
        ExportFailed: if the tokenizer encodes a text otherwise.
    """
    with tempfile.TemporaryDirectory(prefix=".gguf-", dir=path.parent.parent) as scratch:
        unpack_gguf(path, Path(scratch))
        return _own(loaded, Path(scratch))


def _head(tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> nn.Module:
    """Return what `transformers` makes of a pooled state, (D,) to (C,), by the names of the weights in a file."""

    def linear(name: str) -> nn.Linear:
        weight, bias = tensors[f"{name}.weight"], tensors.get(f"{name}.bias")
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
        layer.load_state_dict({"weight": weight} | ({} if bias is None else {"bias": bias}))
        return layer

    if "classifier.dense.weight" in tensors:
        return nn.Sequential(linear("classifier.dense"), nn.Tanh(), linear("classifier.out_proj"))
    if "pooler.dense.weight" in tensors:
        return nn.Sequential(linear("pooler.dense"), linear("classifier"))
    if "head.norm.weight" in tensors:
        scale, shift = tensors["head.norm.weight"], tensors.get("head.norm.bias")
        norm = nn.LayerNorm(len(scale), settings["norm_eps"], bias=shift is not None)
        norm.load_state_dict({"weight": scale} | ({} if shift is None else {"bias": shift}))
        return nn.Sequential(linear("head.dense"), norm, linear("classifier"))
    return linear("score" if "score.weight" in tensors else "classifier")


def peer_of_model(model: nn.Module, name: str = OURS) -> Peer:
    """Return one of our own networks as what is compared."""
    model.eval()

    @torch.inference_mode()
    def logits(tokens: list[int]) -> Tensor:
        ids = torch.tensor([tokens])
        if isinstance(model, Classifier):
            found: Tensor = model(ids, torch.tensor([len(tokens)]))[0]
            return found
        said: Tensor = model(ids)[0]
        return said

    return Peer(name, logits)


def _compare_tokenizers(loaded: Loaded, encode: Any, name: str) -> None:
    for text in PROBE:
        ours, theirs = encode_whole(loaded.encoding, [text])[0], encode(text)
        if list(theirs) != ours:
            raise ExportFailed(
                f"the tokenizer, loaded again by {name}, encodes {text[:40]!r} otherwise than the model's; nothing was "
                "written"
            )
