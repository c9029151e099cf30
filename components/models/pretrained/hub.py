"""Repositories of the Hugging Face hub: how they are named, and how their files are fetched."""

import re
from contextlib import suppress
from pathlib import Path

from components.core.errors import WeightsError, WeightsUnreachable, cause_of

NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")


def is_hub_id(weights: str) -> bool:
    """Tell whether `weights` can only be a repository of the hub, or what stands for it in the mirror."""
    return bool(NAME.fullmatch(weights)) and not weights.endswith(".gguf") and not Path(weights).exists()


def _check_name(weights: str) -> None:
    """Raise WeightsError if what is no folder here cannot be a repository either."""
    with suppress(OSError):  # one that is too long to be a file's
        if Path(weights).expanduser().is_file():
            raise WeightsError(
                f"{weights} is a file: name the folder that it lies in, with config.json and model.safetensors; "
                "pickles (.bin, .pt) are never read"
            )
    if "://" in weights or "@" in weights:
        raise WeightsError(
            f"{weights} is no folder, and a model of the hub is named OWNER/NAME, without more of its address and "
            "without a revision; check model.weights"
        )
    if weights.startswith((".", "/", "~")) or weights.count("/") > 1:
        raise WeightsError(f"there is no folder {weights}; check model.weights")


def download(hub_id: str, cache: Path, mirror: Path | None, patterns: list[str]) -> Path:
    """Return the folder in `cache` with the files of a repository whose names fit `patterns`, fetched if need be.

    Raises:
        WeightsError: if there is no such repository, or it may not be read.
        WeightsUnreachable: if it cannot be reached now.
    """
    from huggingface_hub import errors, snapshot_download

    _check_name(hub_id)
    try:
        return Path(snapshot_download(hub_id, cache_dir=cache, allow_patterns=patterns))
    except errors.GatedRepoError as error:
        raise WeightsError(f"{hub_id} is gated: accept its terms on huggingface.co and set HF_TOKEN") from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise WeightsError(
            f"{hub_id} is neither a folder nor a repository on the Hugging Face hub that you may read; "
            "check model.weights, and set HF_TOKEN if it is private"
        ) from error
    # The hub's base error is that of httpx or httpx2, whichever its version uses.
    except (errors.HTTPError, OSError) as error:  # type: ignore[attr-defined]
        where = mirror or "$GRADUS_MIRROR"
        raise WeightsUnreachable(
            f"{hub_id} could not be downloaded ({cause_of(error)}); connect to the network, "
            f"or put its config.json and model.safetensors in {where}/{hub_id}"
        ) from error
