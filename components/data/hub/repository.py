"""Data sets of the hub, looked up and fetched by its own library; no code of a data set is run."""

import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from components.core.errors import ConfigError, DownloadError, TransientError, did_you_mean
from components.core.home import home
from components.core.records import fingerprint
from components.data.addresses import is_safe_member
from components.data.formats.dialect import SUFFIXES, json_format
from components.data.formats.reading import NAMES_SHOWN
from components.data.hub.asking import asked
from components.data.hub.choosing import Splits, as_given, find_converted, find_splits
from components.data.hub.config import Place, place_of
from components.data.sources import FileSource

CONVERTED = "refs/convert/parquet"
"""The branch on which the hub keeps a Parquet copy of what it can read."""
LOOKED_UP = "revisions"
"""Folder under the home that holds what the hub said last, a file for each source."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """What a source of the hub comes to: a commit, and files of it."""

    revision: str
    """The branch, tag or commit that was asked for, or that of the hub's own Parquet copies."""
    commit: str
    """The commit that it means now; nothing where a folder stands for the data set."""
    splits: Splits
    """The paths of the files of each split; under no name, where there is one only."""


def look_up(source: FileSource, mirror: Path | None) -> Found:
    """Return what a source of the hub comes to now; if the hub cannot be reached, what it came to last.

    A folder `<mirror>/<owner>/<name>` or `<mirror>/<name>` stands for the data set.

    Raises:
        DownloadError: if there is no such data set, revision or file, it may not be read, or only code of its own can
            read it.
        ConfigError: if there is no such subset or split, or it has to be said.
        TransientError: if the hub cannot be reached, and it is not known what the source came to last.
    """
    if folder := folder_of(source, mirror):
        return _chosen(source, _folder_listing(folder))
    kept = home() / LOOKED_UP / f"{fingerprint([source.url, source.hub.model_dump()])}.json"
    try:
        found = asked(source, lambda: _chosen(source, _listing(source, source.hub.revision)))
    except TransientError as error:
        try:
            last = Found(**json.loads(kept.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            raise error from None
        logger.warning("%s; its commit was %s last, which is used", error, last.commit[:12])
        return last
    with suppress(OSError):  # a home that cannot be written is named by the store, which comes next
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(asdict(found)), encoding="utf-8")
    return found


def fetch_file(source: FileSource, found: Found, path: str, mirror: Path | None) -> Path:
    """Return where a file is: in the mirror, or in the hub's own cache, where it is fetched to once.

    Raises:
        DownloadError, TransientError: as `look_up`.
    """
    from huggingface_hub import hf_hub_download

    if folder := folder_of(source, mirror):
        return folder / path
    get = partial(hf_hub_download, repo_type="dataset", revision=found.commit, etag_timeout=source.timeout)
    return Path(asked(source, lambda: get(name_of(source), path))).resolve()


def source_of(source: FileSource, path: str, file: Path) -> FileSource:
    """Return how a file of the data set is read: as the source says, in the format that its name tells."""
    form = SUFFIXES.get(PurePosixPath(path).suffix, source.format)
    if form == "json":
        form = json_format(file) or "jsonl"
    changed = {"url": f"hf://{name_of(source)}/{path}", "format": form, "hub": {"revision": source.hub.revision}}
    try:
        return type(source).model_validate(source.model_dump(exclude_unset=True) | changed)
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{changed['url']}: {wrong}") from error


def name_of(source: FileSource) -> str:
    """Return the data set, as the hub calls it."""
    return _place(source).name


def folder_of(source: FileSource, mirror: Path | None) -> Path | None:
    """Return the folder in the mirror that stands for a data set, if there is one."""
    name = Path(name_of(source))
    return next((mirror / each for each in (name, name.name) if (mirror / each).is_dir()), None) if mirror else None


def _place(source: FileSource) -> Place:
    place = place_of(source.url)
    assert place, "an address is checked when it is read"
    return place


@dataclass(frozen=True)
class Listing:
    """What there is at a revision."""

    commit: str
    """The commit, nothing in a folder."""
    files: Mapping[str, int | None]
    """Sizes in bytes, by path."""
    declared: Any
    """The subsets that the data set's card declares."""


def _listing(source: FileSource, revision: str) -> Listing:
    from huggingface_hub import HfApi

    info = HfApi().dataset_info(name_of(source), revision=revision, files_metadata=True, timeout=source.timeout)
    # Files are put into the store under these names.
    files = {each.rfilename: each.size for each in info.siblings or () if is_safe_member(each.rfilename)}
    return Listing(str(info.sha), files, getattr(info.card_data, "configs", None))


def _folder_listing(folder: Path) -> Listing:
    from huggingface_hub import DatasetCard

    card = folder / "README.md"
    declared = getattr(DatasetCard.load(card).data, "configs", None) if card.is_file() else None
    files = {file.relative_to(folder).as_posix(): file.stat().st_size for file in folder.rglob("*") if file.is_file()}
    return Listing("", dict(sorted(files.items())), declared)


def _chosen(source: FileSource, listing: Listing) -> Found:
    (name, path), wanted, files = _place(source), source.hub, list(listing.files)
    if path and path not in files:
        raise DownloadError(f"{name} has no file {path}{did_you_mean(path, files, 'check source.url')}")
    script = f"{name.partition('/')[2]}.py" if f"{name.partition('/')[2]}.py" in files else ""
    splits = {"": [path]} if path else {} if script else find_splits(files, listing.declared, wanted, name)
    revision = wanted.revision
    if not splits and listing.commit and revision == "main":
        revision, listing = CONVERTED, _converted(source) or listing
        splits = find_converted(list(listing.files), wanted, name)
    if not splits:
        raise _unreadable(name, script, files)
    splits = splits if path else as_given(splits, wanted, name)
    _check_sizes(source, listing, splits)
    return Found(revision, listing.commit, splits)


def _converted(source: FileSource) -> Listing | None:
    from huggingface_hub.errors import RevisionNotFoundError

    try:
        return _listing(source, CONVERTED)
    except RevisionNotFoundError:
        return None


def _check_sizes(source: FileSource, listing: Listing, splits: Splits) -> None:
    for path in (path for paths in splits.values() for path in paths):
        if (listing.files[path] or 0) > source.max_bytes:
            most = f"more than {source.max_bytes:,} bytes; raise source.max_bytes if that is expected"
            raise DownloadError(f"hf://{name_of(source)}/{path} has {listing.files[path]:,} bytes, {most}")


def _unreadable(name: str, script: str, files: list[str]) -> DownloadError:
    shown = ", ".join([file for file in files if file != script and not file.startswith(".")][:NAMES_SHOWN])
    what = (
        f"is read by code of its own ({script}), which is not run here" if script else "has no file that is read here"
    )
    return DownloadError(
        f"{name} {what}, and no Parquet copy on the hub; it holds {shown or 'nothing else'}: name a file that can be "
        f"read as hf://{name}/FILE, or export the data to Parquet, JSON Lines or CSV and set source.url to that"
    )
