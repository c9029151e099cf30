"""The model that an address names, to run it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.errors import NotComparable, TrackingError, WeightsError
from components.tracking.reading import Registered
from components.tracking.registry.finding import resolve_model
from components.tracking.stores import tracking_uri

if TYPE_CHECKING:
    from components.models.saved.classifier import LoadedClassifier
    from components.serving.language_model import Responder


def load_addressed(
    model: str, home: Path, device: str = "cpu"
) -> "tuple[LoadedClassifier | Responder, dict[str, Any] | None]":
    """Return a model, and how the file that it learnt from was read, if that is known.

    Args:
        model: a folder, or an address as `components.tracking.registry.finding.resolve_model` takes it.
        home: the folder of the local store.
        device: where to run it.

    Raises:
        TrackingError: if there is none.
        WeightsError: if it is damaged.
    """
    from components.serving.load import load_with_reading

    return load_with_reading(resolve_model(model, home), tracking_uri(home), device)


def load_version(version: Registered, home: Path) -> "LoadedClassifier | Responder":
    """Return the model of a registered version.

    Raises:
        NotComparable: if its files are gone or damaged.
    """
    from components.models.devices import pick_device

    try:
        return load_addressed(f"models:/{version.name}/{version.number}", home, str(pick_device("auto")))[0]
    except (TrackingError, WeightsError) as error:
        raise NotComparable(f"version {version.number} cannot be run on other test rows: {error}") from error
