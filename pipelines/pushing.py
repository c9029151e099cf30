"""Upload a model to the Hugging Face hub, exported for `transformers` and compared with the original."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from components.models.export.hub import upload
from components.models.export.parity import Parity
from pipelines.exporting import export

if TYPE_CHECKING:
    from components.models.export.hf import Loaded


class Pushed(BaseModel):
    """What came of an upload."""

    repository: str
    """Its name."""
    url: str
    """Where it is shown."""
    private: bool
    """Whether only those who may see it do."""
    files: list[str]
    """What was uploaded."""
    parity: Parity
    """How it was compared with the original."""
    version: str | None
    """The registered version whose tag `gradus.export.parity` says so now, as `NAME/NUMBER`."""


def push(address: str, loaded: "Loaded", repository: str, public: bool) -> Pushed:
    """Export a model and upload it with its card.

    Raises:
        WeightsError: if `transformers` has no such model, or the hub refuses.
        ExportFailed: if what was exported computes something else; nothing is uploaded then.
    """
    with tempfile.TemporaryDirectory(prefix="gradus-") as scratch:
        found = export(address, loaded, "hf", "f16", Path(scratch) / "model")
        there = upload(found.output, repository, public, f"Upload {address}")
    return Pushed(
        repository=repository,
        url=there.url,
        private=there.private,
        files=found.files,
        parity=found.parity,
        version=found.version,
    )
