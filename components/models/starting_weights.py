"""Weights that fine-tuning starts from: where they lie, and how the step `fetch_weights` brings them into the store.

Without the libraries that read them, since every run asks.
"""

import shutil
from pathlib import Path

from components.core.records import Facts, sha256_of

FOLDER = "weights"
TRACKED = ("runs:/", "models:/")
"""How the address of an earlier run's model begins."""


def find_local_weights(weights: str, mirror: Path | None = None) -> Path | None:
    """Return the folder that `weights` names, or that stands for it in the mirror; None if there is none.

    A hub id is looked up as `<mirror>/<owner>/<name>`, then as `<mirror>/<name>`.
    """
    if weights == "random" or weights.startswith(TRACKED):
        return None
    path = Path(weights).expanduser()
    candidates = [path, mirror / path, mirror / path.name] if mirror else [path]
    return next((folder for folder in candidates if folder.is_dir()), None)


def bring_weights(weights: str, cache: Path, mirror: Path | None, out: Path) -> Facts:
    """Copy the files of `weights` into `out/weights`; nothing is written for `random`.

    Raises:
        WeightsError: if they cannot be found or fetched.
    """
    from components.models.weights import find_weights

    found = find_weights(weights, cache, mirror)
    if found is not None:
        (out / FOLDER).mkdir()
        for file in _files(found):
            # A copy, not a link: what happens to the store must not happen to the user's file.
            shutil.copyfile(file, out / FOLDER / file.name)
    return {"weights": weights}


def weights_identity(weights: str, mirror: Path | None) -> dict[str, object]:
    """Return what the step's result depends on: the name, and the content of a local folder that stands for it."""
    folder = find_local_weights(weights, mirror)
    content = {file.name: sha256_of(file) for file in _files(folder)} if folder else None
    return {"weights": weights, "content": content}


def _files(folder: Path) -> list[Path]:
    return sorted(file for pattern in ("*.safetensors", "*.json", "*.tiktoken") for file in folder.glob(pattern))
