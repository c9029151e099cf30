"""What exports leave in MLflow, and what they take from there: the run that made a model, and its card."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from components.core.errors import TrackingError
from components.models.pretrained.files import ADAPTER, ADAPTER_CONFIG, TRACKED
from components.models.saved.card import INSIDE
from components.tracking.names import EXPORT_PARITY_TAG
from components.tracking.reading import RecordedRun, Registered, artifacts_of, find_registered, find_run
from components.tracking.registry.finding import RUN_MODEL
from components.tracking.stores import open_client, tracking_errors

PASSED, FAILED = "passed: ", "failed: "
"""How what is noted of an export begins."""

CARD = "model_card.md"
"""Artifact of a run: what its model is, what it was made from, how good it is."""


def run_of(model: str, home: Path) -> RecordedRun | None:
    """Return the run that made a model, None for a folder, and where no run made it."""
    if not _is_tracked(model):
        return None
    try:
        return find_run(model, home)
    except TrackingError:  # a version that was registered from elsewhere
        return None


def version_of(model: str, home: Path) -> Registered | None:
    """Return the registered version that is a model, if it is registered, and under one name."""
    if not _is_tracked(model):
        return None
    try:
        return find_registered(model, None, home)
    except TrackingError:
        return None


def _is_tracked(model: str) -> bool:
    is_address = model.startswith(TRACKED) or RUN_MODEL.fullmatch(model)
    return bool(is_address) and not Path(model).expanduser().is_dir()


def card_of(run: RecordedRun, home: Path) -> str | None:
    """Return the model card of a run, if it has one.

    Raises:
        TrackingError: if the store cannot be read.
    """
    with artifacts_of(run, [CARD], home) as found:
        return found[CARD].read_text(encoding="utf-8") if CARD in found else None


@contextmanager
def adapter_of(model: str, run: RecordedRun | None, home: Path) -> Iterator[Path | None]:
    """Give the folder of the adapter that a model was trained with, None if it was trained without one, or it is gone.

    Raises:
        TrackingError: if the store cannot be read.
    """
    if run:
        with artifacts_of(run, [ADAPTER], home) as found:
            yield found.get(ADAPTER)
        return
    folder = Path(model).expanduser()
    places = (folder, *folder.glob(INSIDE), folder.parent / ADAPTER)
    yield next((place for place in places if (place / ADAPTER_CONFIG).is_file()), None)


def record_parity(version: Registered, said: str, home: Path) -> str | None:
    """Set the tag of a registered version that says what came of its export: `passed: FORMAT: ...`, or `failed: ...`.

    That one failed stays until one to the same format passes: another format shows nothing about it. Return what stays,
    None where the tag was set.

    Raises:
        TrackingError: if the store cannot be written.
    """
    client = open_client(home)
    with tracking_errors(f"cannot note the export of {version.name} version {version.number}"):
        before = client.get_model_version(version.name, version.number).tags.get(EXPORT_PARITY_TAG, "")
        passed, failed = said.startswith(PASSED), before.startswith(FAILED)
        if passed and failed and _format(before) != _format(said):
            return before
        client.set_model_version_tag(version.name, version.number, EXPORT_PARITY_TAG, said)
    return None


def _format(said: str) -> str:
    return said.split(": ")[1]
