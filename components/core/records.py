"""What travels between steps: manifests of files, never frames or tensors."""

import hashlib
import json
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

Facts = dict[str, Any]
"""What a step found out about its own output: JSON values. Deterministic: no clock, no path, no host."""


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file, read in chunks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(value: Any) -> str:
    """Return the SHA-256 of a JSON-able value, independent of the order of its keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


class File(BaseModel):
    """One file of a manifest. `rows` is set for Parquet tables."""

    model_config = ConfigDict(frozen=True)

    sha256: str
    bytes: int
    rows: int | None = None


class Manifest(BaseModel):
    """What a step wrote: where, which files, and what it found out.

    A manifest is small and serialisable; it is what Prefect caches. `files` maps a path relative to
    `folder` to what must be there. `seal` is a hash of the manifest itself.
    `cached` says whether this run took it from the cache.
    """

    model_config = ConfigDict(frozen=True)

    step: str
    key: str
    folder: Path
    files: dict[str, File]
    facts: Facts = {}
    seconds: float = 0.0
    seal: str = ""
    cached: bool = Field(default=False, exclude=True)

    def path(self, name: str) -> Path:
        """Return the path of the file `name`, which must be one of `files`."""
        if name not in self.files:
            raise KeyError(f"step {self.step!r} wrote no {name!r}; it wrote {', '.join(sorted(self.files))}")
        return self.folder / name

    @property
    def digest(self) -> str:
        """What later steps depend on: the files' contents and the facts, not where or when."""
        return fingerprint([{name: file.sha256 for name, file in self.files.items()}, self.facts])

    def digest_of(self, folder: str) -> str:
        """Return a hash of the files in a folder, by their names."""
        inside = {name: file.sha256 for name, file in self.files.items() if name.startswith(f"{folder}/")}
        return fingerprint(inside)

    def sealed(self) -> "Manifest":
        """Return the manifest with its hash."""
        return self.model_copy(update={"seal": self._hash()})

    def _hash(self) -> str:
        # Of the JSON that is written: what it cannot say, such as a number that is none, is not read back.
        return fingerprint(json.loads(self.model_dump_json(exclude={"folder", "seal"})))

    def damage(self) -> str | None:
        """Name the first file that is missing or has changed since it was written, or return None.

        A manifest that is not sealed, or was changed after it had been, counts as damaged too.
        """
        if self.seal != self._hash():
            return "the manifest has changed"
        for name, file in self.files.items():
            path = self.folder / name
            if not path.is_file():
                return f"{name} is gone"
            if path.stat().st_size != file.bytes or sha256_of(path) != file.sha256:
                return f"{name} has changed"
        return None


class Logger(Protocol):
    """Where a step reports numbers while it works; MLflow in a pipeline, nowhere in a test."""

    def metrics(self, values: dict[str, float], step: int) -> None:
        """Record metric values at an optimiser step."""


class NoLogger:
    """A logger that keeps nothing."""

    def metrics(self, values: dict[str, float], step: int) -> None:
        """Do nothing."""
