"""Whether the files of a logged model are as they were written.

This source is the beginning of the file that MLflow runs in every logged model, before it trusts any other: it imports
nothing of Gradus, and what it needs when it is needed.
"""

import hashlib
import json
from pathlib import Path

HASHES = "hashes.json"
"""The file of a logged model that holds the SHA-256 of every other one."""
HASHED_KEY = "gradus.hashes"
"""Key of a logged model's metadata that says that there are hashes, and in which file."""
DESCRIPTION = "MLmodel"
DECIDING = ("flavors", "signature", "saved_input_example_info", "metadata")
"""What is hashed of `MLmodel`. The rest names a run and a place, which whoever registers the model may write anew."""
ENVIRONMENT = ("conda.yaml", "python_env.yaml", "requirements.txt")
"""What `mlflow.models.update_model_requirements` changes. A model that is loaded is past its use."""


def write_hashes(model: Path) -> str:
    """Write the hashes of a logged model's files into it, and return the SHA-256 of what was written."""
    names = sorted(path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file())
    hashes = {name: _hash(model / name) for name in names if name != HASHES}
    (model / HASHES).write_text(json.dumps(hashes, indent=1), encoding="utf-8")
    return hash_of_hashes(model)


def hash_of_hashes(model: Path) -> str:
    """Return the SHA-256 of the file that holds the hashes; nothing if it is gone."""
    return _hash(model / HASHES) if (model / HASHES).is_file() else ""


def find_damage(model: Path, ignored: tuple[str, ...] = ()) -> str | None:
    """Name the first file of a logged model that is gone or has changed since it was written, or return None.

    Models that were logged before there were hashes have none that could differ.
    """
    if not (model / HASHES).is_file():
        return f"{HASHES} is gone" if HASHED_KEY in metadata_of(model) else None
    try:
        hashes = json.loads((model / HASHES).read_bytes())
    except (ValueError, RecursionError):
        hashes = None
    if not isinstance(hashes, dict) or any(Path(name).is_absolute() or ".." in Path(name).parts for name in hashes):
        return f"{HASHES} has changed"
    for name, expected in hashes.items():
        if not (model / name).is_file():
            return f"{name} is gone"
        if name not in ignored and _hash(model / name) != expected:
            return f"{name} has changed"
    return None


def _hash(path: Path) -> str:
    """Return the SHA-256 of a file; of a model's description, that of what decides how it is run."""
    if path.name != DESCRIPTION:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    described = _description(path)
    content = json.dumps({key: described.get(key) for key in DECIDING}, sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()


def metadata_of(model: Path) -> dict[str, object]:
    """Return what stands in a logged model under `metadata`; nothing if it is no logged model or cannot be read."""
    metadata = _description(model / DESCRIPTION).get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def _description(path: Path) -> dict[str, object]:
    """Return what `MLmodel` says; nothing if it cannot be read."""
    import yaml

    try:
        found = yaml.safe_load(path.read_bytes())
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}
