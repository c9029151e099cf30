"""Saved models that are an adapter alone, made whole: as others go on from them."""

from pathlib import Path

from components.models.pretrained.files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, WEIGHTS_FILE, is_adapter_alone
from components.models.saved.card import LANGUAGE_MODEL, kind_of, write_card
from components.models.saved.classifier import load_classifier
from components.models.saved.language_model import load_gpt
from components.models.weights import save_weights


def make_whole(folder: Path) -> None:
    """Put the merged weights in the place of the adapter in a saved model's folder; a whole model stays as it is.

    Raises:
        WeightsError: if the adapter's base cannot be had.
    """
    if not is_adapter_alone(folder):
        return
    loaded = load_gpt(folder) if kind_of(folder) == LANGUAGE_MODEL else load_classifier(folder)
    save_weights(loaded.model, folder / WEIGHTS_FILE)
    write_card(loaded.card.model_copy(update={"base": None}), folder)
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        (folder / name).unlink()
