"""A model as a folder in the layout of `transformers`.

config.json              the network, and what its labels are called
model.safetensors        weights in fp32
tokenizer.json           the tokenizer, with tokenizer_config.json and chat_template.jinja
generation_config.json   the tokens at which a language model's texts end
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tiktoken

from components.core.errors import WeightsError
from components.models.encoders.sizes import RobertaSize
from components.models.export.heads import head_of
from components.models.export.settings import class_of, settings_of
from components.models.export.templates import chat_template
from components.models.export.tokenizer import pad_token, tokenizer_files
from components.models.pretrained.files import SETTINGS, WEIGHTS_FILE
from components.models.pretrained.tokenizer import CONFIG_FILE, GENERATION_FILE, MODEL_FILE
from components.models.saved.classifier import LoadedClassifier
from components.models.saved.language_model import LoadedGPT
from components.models.tokenizer import Tokenizer, end_of_text, ends_of_text
from components.models.weights import tensors_of, write_tensors

Loaded = LoadedGPT | LoadedClassifier
"""A saved model of any kind in memory."""


def write_transformers(loaded: Loaded, folder: Path) -> None:
    """Write a model into `folder`, which must exist.

    Raises:
        WeightsError: if `transformers` has no such network, head or tokenizer.
        NoRoom: if the disk has no room.
    """
    classifies = isinstance(loaded, LoadedClassifier)
    settings = settings_of(loaded.card.size, base_settings(loaded.encoding))
    class_name = class_of(settings["model_type"], "SequenceClassification" if classifies else "CausalLM")
    tensors = tensors_of(loaded.model)
    if isinstance(loaded, LoadedClassifier):
        head = head_of(loaded.model, class_name)
        tensors = {name: each for name, each in tensors.items() if not name.startswith("head.")} | dict(head.tensors)
        for name, change in head.added.items():
            tensors[name] = tensors[name] + change
        settings |= head.settings
    files = files_of_tokenizer(loaded)
    pad = _pad_token(loaded, json.loads(files[CONFIG_FILE]))
    settings |= _said_of(loaded, class_name, pad)
    files[SETTINGS] = json.dumps(settings, indent=1)
    if not classifies:
        files[GENERATION_FILE] = json.dumps(_generation(loaded.encoding, pad), indent=1)
    write_texts(files, folder)
    write_tensors(tensors, folder / WEIGHTS_FILE)


def files_of_tokenizer(loaded: Loaded) -> dict[str, str]:
    """Return the texts of a model's tokenizer files, by their names; a language model's have its chat template."""
    if isinstance(loaded, LoadedClassifier):
        return tokenizer_files(loaded.encoding, None, loaded.card.max_length)
    template = chat_template(loaded.card.template, loaded.encoding)
    return tokenizer_files(loaded.encoding, template, loaded.card.size.context)


def write_texts(files: Mapping[str, str], folder: Path) -> None:
    """Write files with these texts into a folder."""
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


def _pad_token(loaded: Loaded, config: Mapping[str, Any]) -> int:
    """Return the token that pads; in RoBERTa positions are counted from its number on.

    Raises:
        WeightsError: if that number is another token's.
    """
    pad, size = pad_token(loaded.encoding, config), loaded.card.size
    if isinstance(size, RobertaSize) and pad != size.offset - 1:
        raise WeightsError(
            f"the vocabulary pads with token {pad}, but transformers would take token {size.offset - 1}, behind whose "
            "number RoBERTa's positions begin: it cannot be exported with this vocabulary"
        )
    return pad


def base_settings(encoding: Tokenizer) -> dict[str, Any] | None:
    """Return the `config.json` of the model that a tokenizer came with, if it came with one."""
    if isinstance(encoding, tiktoken.Encoding) or MODEL_FILE not in encoding.files:
        return None
    found: dict[str, Any] = json.loads(encoding.files[MODEL_FILE])
    return found


def _said_of(loaded: Loaded, class_name: str, pad: int) -> dict[str, Any]:
    """Return what `config.json` says besides the shape of the network."""
    starts: tuple[int, ...] = getattr(loaded.encoding, "starts", ())
    found = {
        "architectures": [class_name],
        "dtype": "float32",
        "vocab_size": loaded.encoding.n_vocab,
        "bos_token_id": starts[0] if starts else None,
        "eos_token_id": end_of_text(loaded.encoding),
        "pad_token_id": pad,
    }
    if isinstance(loaded, LoadedClassifier):
        labels = loaded.card.labels
        names = {str(place): label for place, label in enumerate(labels)}
        numbers = {label: place for place, label in enumerate(labels)}
        return found | {"id2label": names, "label2id": numbers, "problem_type": "single_label_classification"}
    return found | {"tie_word_embeddings": loaded.card.tie_embeddings}


def _generation(encoding: Tokenizer, pad: int) -> dict[str, Any]:
    starts: tuple[int, ...] = getattr(encoding, "starts", ())
    start = {"bos_token_id": starts[0]} if starts else {}
    return {"do_sample": False, "eos_token_id": list(ends_of_text(encoding)), "pad_token_id": pad, **start}
