"""Load a model to use it: from a folder, or from wherever MLflow keeps a model."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.errors import TrackingError, WeightsError
from components.core.integrity import DESCRIPTION, HASHES, find_damage, metadata_of

if TYPE_CHECKING:
    from components.models.saved.classifier import LoadedClassifier
    from components.serving.language_model import Responder

REPLACE = "copy the model's folder anew, or log the model again"

READING = "gradus.reading"
"""Key of a logged model's metadata: how the file that it learnt from was read, its columns and templates among it."""


def load_model(
    model: str | Path, tracking_uri: str | None = None, device: str = "cpu"
) -> "LoadedClassifier | Responder":
    """Return a saved model of either kind.

    A classifier's `predict(texts)` gives a table of `label`, `probability` and `p_<label>`; a language model's
    `respond(instructions, inputs)` one of `response`, `new_tokens` and `stopped`.

    It is run by this installation's code, not by the copy in the logged model; both give the same results, and a
    format that this Gradus does not know is refused.

    Args:
        model: a saved model's folder, a logged model's folder, or the address of one (`models:/NAME@ALIAS`,
            `models:/NAME/VERSION`, `models:/m-...`, `s3://...`).
        tracking_uri: the MLflow store that addresses are looked up in.
        device: where to run.

    Raises:
        TrackingError: if there is no model at that address.
        WeightsError: if what is there is none that Gradus saved, or a damaged one.
    """
    return load_with_reading(model, tracking_uri, device)[0]


def load_with_reading(
    model: str | Path, tracking_uri: str | None = None, device: str = "cpu"
) -> "tuple[LoadedClassifier | Responder, dict[str, Any] | None]":
    """Return a saved model, and how the file that it learnt from was read: keys of a preset's `source`, if known.

    See `load_model`.
    """
    from components.models.saved.card import LANGUAGE_MODEL, kind_of
    from components.models.saved.classifier import load_classifier
    from components.serving.language_model import load_responder

    with tempfile.TemporaryDirectory(prefix="gradus-") as scratch:
        folder = Path(model) if Path(model).is_dir() else _fetch(str(model), scratch, tracking_uri)
        saved, reading = saved_folder(folder), metadata_of(folder).get(READING)
        load = load_responder if kind_of(saved) == LANGUAGE_MODEL else load_classifier
        return load(saved, device), reading if isinstance(reading, dict) else None


def saved_folder(folder: Path) -> Path:
    """Return the saved model in a folder: the folder itself, or the part of a logged model that holds it.

    Raises:
        TrackingError: if there is none.
        WeightsError: if a file of the logged model is not as it was written.
    """
    from components.models.saved.card import CARD_FILE, INSIDE, find_saved

    _check_files(folder)
    if found := find_saved(folder):
        return found
    raise TrackingError(f"{folder} holds no model that Gradus saved: no {CARD_FILE} in it or its {INSIDE}")


def _check_files(folder: Path) -> None:
    """Check the files of a logged model against their hashes, also if the folder is the saved model inside it."""
    for logged in (folder, folder.absolute().parent.parent):
        if (logged / DESCRIPTION).is_file() or (logged / HASHES).is_file():
            if damage := find_damage(logged):
                raise WeightsError(f"the model's file {logged / damage} since it was logged: {REPLACE}")
            return


def _fetch(address: str, folder: str, tracking_uri: str | None) -> Path:
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    try:
        return Path(download_artifacts(address, dst_path=folder, tracking_uri=tracking_uri, registry_uri=tracking_uri))
    except (MlflowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise TrackingError(f"cannot fetch the model {address}: {reason}") from error
