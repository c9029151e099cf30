"""Weights that a saved model leaves where they are: a model may be an adapter alone, and the name of its base."""

from pathlib import Path

from components.core.config import Config
from components.core.errors import WeightsError
from components.core.home import home, mirror
from components.core.records import fingerprint
from components.models.classifier import Classifier
from components.models.language_model import LanguageModel
from components.models.pretrained.files import find_weights, hash_of, weight_files
from components.models.saved.adapter import merge_adapter
from components.models.weights import load_weights


class Base(Config):
    """What an adapter was trained on."""

    weights: str
    """As `model.weights` names them; a folder or a file by its whole path."""
    sha256: str
    """Hash of the hashes of the files that hold them, in the layout of `transformers`."""


def base_of(weights: str, folder: Path) -> Base:
    """Return how to find again what `weights` names, which stands in `folder`."""
    path = Path(weights).expanduser()
    return Base(weights=str(path.absolute()) if path.exists() else weights, sha256=_hash(folder))


def load_saved_weights(model: LanguageModel | Classifier, folder: Path, base: Base | None) -> None:
    """Copy the weights of the saved model in `folder` into a network: its own, or its base's with its adapter merged.

    Raises:
        WeightsError: if they are damaged, or the base is gone or another one.
    """
    if base is None:
        load_weights(model, folder)
        return
    load_weights(model.transformer if isinstance(model, Classifier) else model, _find(base, folder))
    merge_adapter(model, folder)


def _find(base: Base, folder: Path) -> Path:
    owner = f"the model in {folder} is an adapter of {base.weights}"
    try:
        found = find_weights(base.weights, home() / "hub", mirror())
    except WeightsError as error:
        raise WeightsError(f"{owner}, which cannot be had: {error}") from error
    assert found is not None
    if (other := _hash(found)) != base.sha256:
        raise WeightsError(
            f"{owner} as it was then (SHA-256 {base.sha256[:12]}), and now {found} holds other weights ({other[:12]}): "
            "bring those back, or train again"
        )
    return found


def _hash(folder: Path) -> str:
    return fingerprint([hash_of(file) for file in weight_files(folder)])
