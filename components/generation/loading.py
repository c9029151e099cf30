"""Language models to generate with: from the hub, a folder, fine-tuned or not, or untrained."""

from pathlib import Path
from typing import Any

from components.core.errors import ConfigError, WeightsError
from components.models.architecture import make_network
from components.models.config import SizeName
from components.models.language_model import LanguageModel
from components.models.pretrained.files import SETTINGS, find_local_weights, find_weights, is_pretrained, read_settings
from components.models.saved.card import LANGUAGE_MODEL, find_saved, kind_of
from components.models.saved.language_model import load_gpt
from components.models.sizes import SIZES, AnySize, UnknownNetwork, size_from_settings
from components.models.tokenizer import TOKENIZER_FILE, Tokenizer, load_tokenizer
from components.models.weights import filled


def load_language_model(
    model: str,
    size: SizeName | AnySize | None,
    vocabulary: str,
    cache: Path,
    mirror: Path | None = None,
    seed: int = 0,
) -> tuple[LanguageModel, Tokenizer]:
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
    if is_pretrained(model) and (size is not None or vocabulary != "auto"):
        raise ConfigError(f"{model} brings its size and vocabulary; leave --size and --vocabulary out")
    folder = find_weights(model, cache, mirror)
    settings = read_settings(folder) if folder and (folder / SETTINGS).exists() else {}
    shape = size or _size(settings, model)
    if vocabulary == "auto":
        own = settings.get("model_type", "gpt2") != "gpt2" or (Path(model) / TOKENIZER_FILE).is_file()
        vocabulary = model if own else "gpt2"
    encoding = load_tokenizer(vocabulary, mirror)
    if (tokens := settings.get("vocab_size", encoding.n_vocab)) != encoding.n_vocab:
        raise WeightsError(
            f"{model} knows {tokens} tokens, the vocabulary {vocabulary} has {encoding.n_vocab}; give --vocabulary"
        )
    # Untied fits all files: one without a head gets the embedding as its head.
    tied = bool(settings.get("tie_word_embeddings", folder is None))
    network = LanguageModel(make_network(SIZES[shape] if isinstance(shape, str) else shape, encoding.n_vocab), tied)
    return filled(network, folder, seed).eval(), encoding


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


def _size(settings: dict[str, Any], model: str) -> AnySize:
    if not settings:
        raise ConfigError(f"{model} has no {SETTINGS}, so that its shape is not known; give --size")
    try:
        return size_from_settings(settings, model)
    except UnknownNetwork:
        raise
    except WeightsError as error:
        raise ConfigError(f"{error}; give --size") from error
