"""The model of a registered version, to run it."""

from pathlib import Path
from typing import TYPE_CHECKING

from components.core.errors import NotComparable, TrackingError, WeightsError
from components.tracking.reading import Registered
from components.tracking.registry.finding import resolve_model
from components.tracking.stores import tracking_uri

if TYPE_CHECKING:
    from components.models.saved.classifier import LoadedClassifier
    from components.serving.language_model import Responder


def load_version(version: Registered, home: Path) -> "LoadedClassifier | Responder":
    """Return the model of a registered version.

    Raises:
        NotComparable: if its files are gone or damaged.
    """
    from components.models.devices import pick_device
    from components.serving.load import load_model

    try:
        address = resolve_model(f"models:/{version.name}/{version.number}", home)
        return load_model(address, tracking_uri(home), str(pick_device("auto")))
    except (TrackingError, WeightsError) as error:
        raise NotComparable(f"version {version.number} cannot be run on other test rows: {error}") from error
