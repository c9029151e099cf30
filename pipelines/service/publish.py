"""Publishing a new data file: the event that starts the flow which is deployed for it."""

from hashlib import file_digest
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from components.core.errors import ConfigError
from pipelines.config import load_config, override
from pipelines.service.events import DATA_PUBLISHED, emit


class Published(BaseModel):
    """What was published, and what `gradus data publish --json` prints."""

    path: str
    """Absolute: workers have to find the file there."""
    sha256: str
    bytes: int
    preset: str
    kind: str
    overrides: list[str]


def publish(file: Path, preset: str, overrides: list[str]) -> Published:
    """Tell Prefect's server of a file that a preset is to be run on.

    Args:
        file: the data, in a format that the preset, or a key in `overrides`, says.
        preset: a name from `gradus presets`, or the path of a YAML file on the workers' machines.
        overrides: what `--set` takes, for the run that this starts.

    Raises:
        ConfigError: if there is no such file, if preset and keys do not fit each other, or if no server is set up.
        GradusError: if the server does not take the event.
    """
    path = file.absolute()
    if not path.is_file():
        raise ConfigError(f"{file}: there is no such file")
    with path.open("rb") as opened:
        digest = file_digest(opened, "sha256").hexdigest()
    # The hash as well, so that a worker learns from what was published and from nothing else.
    where: dict[str, Any] = {"source.url": str(path), "source.sha256": digest, "source.member": None, "source.hub": {}}
    keys = [*(override(key, value) for key, value in where.items()), *overrides]
    kind = load_config(preset, keys).pipeline
    found = Published(
        path=str(path), sha256=digest, bytes=path.stat().st_size, preset=preset, kind=kind, overrides=keys
    )
    labels = {"gradus.kind": kind, "gradus.preset": preset}
    if not emit(DATA_PUBLISHED, f"gradus.data.{digest[:32]}", labels, found.model_dump()):
        raise ConfigError("no Prefect server is set up to hear of it: set PREFECT_API_URL (deploy/README.md)")
    return found
