"""Language models to generate with: from the hub, a folder, fine-tuned or not, or untrained."""

import json
from pathlib import Path
from typing import Any

import tiktoken
from pydantic import ValidationError

from components.core.errors import ConfigError, WeightsError
from components.models.architecture import architectures
from components.models.config import GPTSize, ModelConfig, SizeName
from components.models.language_model import LanguageModel
from components.models.saved.card import LANGUAGE_MODEL, find_saved, kind_of
from components.models.saved.language_model import load_gpt
from components.models.starting_weights import find_local_weights
from components.models.tokenizer import load_tokenizer
from components.models.weights import find_weights, make_gpt

SETTINGS = "config.json"
"""Where `transformers` keeps a model's family and shape."""
UNNAMED = "gpt2"
"""The family of weights that name none."""


def load_language_model(
    model: str,
    size: SizeName | GPTSize | None,
    vocabulary: str,
    cache: Path,
    mirror: Path | None = None,
    seed: int = 0,
) -> tuple[LanguageModel, tiktoken.Encoding]:
    """Return a language model and its tokenizer, on the CPU in fp32.

    Args:
        model: a hub id, a folder with weights in the layout of `transformers`, one that
            `components.models.saved.language_model` wrote, which knows its size and vocabulary by itself, or `random`.
        size: the network's shape; None reads it from the weights' `config.json`.
        vocabulary: as `model.vocabulary` of a preset.
        cache: where what the hub sends is kept.
        mirror: a folder to look in before the network.
        seed: of random weights.

    Raises:
        ConfigError: if `size` is needed, or the model is a classifier.
        WeightsError: if weights or vocabulary cannot be had, or do not fit each other.
    """
    if saved := _saved(model, mirror):
        if size is not None:
            raise ConfigError(f"{model} has a size of its own; leave --size out")
        loaded = load_gpt(saved)
        return loaded.model, loaded.encoding
    if model == "random" and size is None:
        raise ConfigError("random weights have no size: give --size, such as 124M")
    folder = find_weights(model, cache, mirror)
    settings = _settings(folder) if folder else {}
    shape = size or _size(settings, model)
    encoding = load_tokenizer(vocabulary, mirror)
    if (tokens := settings.get("vocab_size", encoding.n_vocab)) != encoding.n_vocab:
        raise WeightsError(
            f"{model} knows {tokens} tokens, the vocabulary {vocabulary} has {encoding.n_vocab}; give --vocabulary"
        )
    # Untied fits all files: one without a head gets the embedding as its head.
    config = ModelConfig(size=shape, weights=model, tie_embeddings=folder is None, vocabulary=vocabulary)
    return make_gpt(config, encoding.n_vocab, folder, seed).eval(), encoding


def classifier_refused(model: str) -> ConfigError:
    """Return the error for a network that was fine-tuned to feed a classifier."""
    # What it would write says nothing of any model.
    return ConfigError(f"{model} is a classifier, which writes no text; ask it with `gradus predict {model} TEXT`")


def _saved(model: str, mirror: Path | None) -> Path | None:
    """Return the folder of a language model that Gradus saved, or None if that is not what `model` names."""
    folder = find_local_weights(model, mirror)
    saved = find_saved(folder) if folder else None
    if saved and kind_of(saved) != LANGUAGE_MODEL:
        raise classifier_refused(model)
    return saved


def _settings(folder: Path) -> dict[str, Any]:
    """Return what `config.json` says, or nothing where there is none."""
    path = folder / SETTINGS
    if not path.exists():
        return {}
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        kind = settings.get("model_type", UNNAMED)
    except (OSError, ValueError, AttributeError) as error:
        raise WeightsError(f"{path} cannot be read ({error}); fetch the model again") from error
    if kind not in architectures():
        known = ", ".join(architectures())
        raise WeightsError(f"{folder} holds a model of type {kind}, and only {known} is known; choose another model")
    return dict(settings)


def _size(settings: dict[str, Any], model: str) -> GPTSize:
    family = architectures()[settings.get("model_type", UNNAMED)]
    try:
        return family.shape(**{field: settings[name] for field, name in family.settings.items()})
    except (KeyError, ValidationError) as error:
        needed = ", ".join(family.settings.values())
        raise ConfigError(f"{model} has no {SETTINGS} that names its size ({needed}); give --size") from error
