"""Weights that fine-tuning starts from, as the step `fetch_weights` brings them into the store.

Without the libraries that read them, since every run asks.
"""

import shutil
from pathlib import Path

from components.core.records import Facts, sha256_of
from components.models.pretrained.files import find_adapter, find_local_weights, find_weights, is_adapter_alone

FOLDER = "weights"


def bring_weights(weights: str, cache: Path, mirror: Path | None, out: Path) -> Facts:
    """Copy the files of `weights` into `out/weights`; nothing is written for `random`.

    Raises:
        WeightsError: if they cannot be found or fetched.
    """
    found = find_weights(weights, cache, mirror)
    if found is not None:
        (out / FOLDER).mkdir()
        for file in _files(found):
            # A copy, not a link: what happens to the store must not happen to the user's file.
            shutil.copyfile(file, out / FOLDER / file.name)
        if is_adapter_alone(out / FOLDER):
            from components.models.saved.whole import make_whole

            make_whole(out / FOLDER)
    return {"weights": weights}


def weights_identity(weights: str, mirror: Path | None) -> dict[str, object]:
    """Return what the step's result depends on: the name, and the content of what is there and stands for it."""
    found = find_local_weights(weights, mirror)
    files = [found] if found and found.is_file() else _files(found) if found else []
    return {"weights": weights, "content": {file.name: sha256_of(file) for file in files} if found else None}


def adapter_identity(folder: str | None) -> dict[str, str]:
    """Return what is in the files of an adapter, which is merged into the weights; nothing without one.

    Raises:
        WeightsError: if the folder holds none.
    """
    return {file.name: sha256_of(file) for file in find_adapter(folder)} if folder else {}


def _files(folder: Path) -> list[Path]:
    patterns = ("*.safetensors", "*.json", "*.tiktoken", "*.jinja")
    return sorted(file for pattern in patterns for file in folder.glob(pattern))
