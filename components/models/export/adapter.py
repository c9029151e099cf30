"""An adapter alone, in the layout of `peft`, with the tokenizer of the model that it belongs to."""

import json
import shutil
from pathlib import Path

from components.core.errors import GradusError, WeightsError
from components.core.home import home, mirror
from components.models.architecture import make_network
from components.models.classifier import Classifier
from components.models.export.hf import Loaded, files_of_tokenizer, write_texts
from components.models.export.parity import Parity, check_parity
from components.models.export.peers import installed, peer_of_model, peer_of_peft
from components.models.language_model import LanguageModel
from components.models.pretrained.files import ADAPTER_CONFIG, SETTINGS, find_adapter, folder_of
from components.models.saved.adapter import merge_adapter
from components.models.saved.classifier import LoadedClassifier
from components.models.weights import load_weights

FORM = "adapter"


def export_adapter(loaded: Loaded, source: Path | None, folder: Path, notes: list[str]) -> Parity:
    """Copy the adapter in `source` into `folder`, and compare it on its base with the model that it made.

    Raises:
        WeightsError: if there is none, or its base cannot be had.
        ExportFailed: if both compute something else.
    """
    if source is None:
        raise WeightsError(
            "the model has no adapter: it was trained otherwise than with train.trainable=lora, or only its folder "
            "was kept; export it with --to hf"
        )
    for file in find_adapter(source):
        shutil.copyfile(file, folder / file.name)
    write_texts(files_of_tokenizer(loaded), folder)
    base = _base(folder)
    lacking = _lacking(loaded)
    if _has_bias(loaded):
        notes.append("give the model a head with a bias before peft loads it: model.score = nn.Linear(width, labels)")
    if lacking is None and (base / SETTINGS).is_file() and installed("peft"):
        return check_parity(loaded, peer_of_peft(loaded, base, folder, _has_bias(loaded)), FORM)
    notes += [lacking] if lacking else []
    return check_parity(loaded, peer_of_model(_merged(loaded, base, folder)), FORM)


def _has_bias(loaded: Loaded) -> bool:
    """Tell whether the head has a bias and that of `transformers` has none."""
    if not isinstance(loaded, LoadedClassifier) or loaded.model.transformer.size.is_encoder:
        return False
    return loaded.model.head.bias is not None


def _lacking(loaded: Loaded) -> str | None:
    """Return why `peft` does not compute the same, None if it does."""
    if not isinstance(loaded, LoadedClassifier):
        return None
    model = loaded.model
    decodes = not model.transformer.size.is_encoder and model.causal and model.pooling == "last_token"
    if decodes or (model.transformer.name == "bert" and model.pooling == "cls"):
        return None
    return (
        f"transformers has no head of {model.transformer.name} with train.pooling={model.pooling}: the adapter gives "
        "other results there than with Gradus"
    )


def _base(folder: Path) -> Path:
    """Return the folder of the model that an adapter was trained on."""
    name = str(json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))["base_model_name_or_path"])
    try:
        return folder_of(name, home() / "hub", mirror())
    except GradusError as error:
        raise WeightsError(
            f"the adapter belongs to {name}, which cannot be had, so that it cannot be compared with the model: {error}"
        ) from error


def _merged(loaded: Loaded, base: Path, adapter: Path) -> LanguageModel | Classifier:
    """Return the base with the adapter merged into it."""
    network = make_network(loaded.card.size, loaded.encoding.n_vocab)
    model: LanguageModel | Classifier
    if isinstance(loaded, LoadedClassifier):
        card, bias = loaded.card, loaded.model.head.bias is not None
        model = Classifier(network, len(card.labels), card.pooling, causal=card.causal, bias=bias)
    else:
        model = LanguageModel(network, loaded.card.tie_embeddings)
    load_weights(network if isinstance(model, Classifier) else model, base)
    merge_adapter(model, adapter)
    return model
