"""What a store shares with those of other machines: results, and checkpoints of what is under way.

It lies in a folder that all can reach, or in a bucket (`store.remote`, any address that fsspec knows). Results are
`<step>/<key>.json`, a sealed manifest, and its files by their SHA-256 under `files/`; checkpoints are
`<step>/<key>.checkpoint.json`, written after what it names. So nobody takes half of one, and what has been changed on
its way is not taken at all. One that is away stops nobody: the work is done here, and said once.
"""

import hashlib
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TypeVar

from pydantic import Field

from components.core.config import Address, Config
from components.core.errors import ConfigError
from components.core.records import File, Manifest
from components.core.redaction import redact
from components.core.room import is_full, require_room

VARIABLE = "GRADUS_STORE_REMOTE"
CHUNK = 1 << 22
PAUSE = 60.0
"""Seconds in which one that was away is not asked again."""
S3 = {"config_kwargs": {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 2}}}
"""Its own defaults wait for a server that is gone for minutes."""

Done = TypeVar("Done")

log = logging.getLogger(__name__)


class StoreConfig(Config):
    """Where steps keep what they have made, beside this machine's store."""

    remote: Address | None = Field(default_factory=lambda: os.environ.get(VARIABLE) or None)
    """A folder that other machines reach too, or a bucket (`s3://bucket/folder`; extra `s3`): results and checkpoints
    are sent there, and taken from there where another machine has made them. null: nowhere. Where a preset does not
    say, the environment variable GRADUS_STORE_REMOTE does."""


class Remote:
    """The place at an address of fsspec's.

    Raises:
        ConfigError: if there is no such kind of address, or what it takes is not installed.
    """

    def __init__(self, address: str) -> None:
        import fsspec

        self.address = address
        options = S3 if address.startswith("s3://") else {}
        try:
            self._files, self._root = fsspec.url_to_fs(
                str(Path(address).expanduser()) if "://" not in address else address, **options
            )
        except ImportError as error:
            raise ConfigError(f"store.remote: {redact(address)} takes a library: `pip install 'gradus[s3]'`") from error
        except ValueError as error:
            raise ConfigError(f"store.remote: {redact(address)} is no folder and no address: {error}") from error
        self._lock = threading.Lock()
        self._away_until = 0.0
        self._wrong: set[str] = set()
        """Names of manifests that could not be believed: they are written anew, with all of their files."""
        self._unsent: list[Manifest] = []
        self._replaceable: set[str] = set()
        """Where checkpoints lie that this one has fetched, or begun to send."""

    def fetch(self, step: str, key: str, folder: Path) -> Manifest | None:
        """Bring a result into an empty folder; None if it is not there, or not as it was written.

        Raises:
            NoRoom, OSError: if the disk of that folder is full: what has no room there has none when it is made anew.
        """

        def fetch() -> Manifest | None:
            found = self._read(f"{step}/{key}.json")
            return found and self._take(found, f"{step}/{key}.json", _by_hash, folder)

        return self._safely(fetch, refused=is_full)

    def send(self, manifest: Manifest) -> None:
        """Let others have a result, unless it is there already; then nobody needs its checkpoints.

        One that did not arrive is tried once more, when a later one has arrived.
        """
        if not self._safely(partial(self._send, manifest)):
            self._unsent.append(manifest)
            return
        unsent, self._unsent = self._unsent, []
        for each in unsent:
            self._safely(partial(self._send, each))

    def fetch_checkpoint(self, step: str, key: str, folder: Path, here: Mapping[str, int] | None = None) -> bool:
        """Bring the newest checkpoint of what another machine began into an empty folder, if there is one.

        One that is no further than what is `here`, files and how long each is, is left where it is.
        """

        def fetch() -> Manifest | None:
            found = self._read(name := f"{step}/{key}.checkpoint.json")
            if not found or (here and _progress(_lengths(found)) <= _progress(here)):
                return None
            taken = self._take(found, name, _by_place, folder)
            self._replaceable.add(str(found.facts.get("place")))
            return taken

        return self._safely(fetch) is not None

    def send_checkpoint(self, step: str, key: str, folder: Path, there: dict[str, int]) -> bool:
        """Send files of a folder, by their names and as many of their bytes as were there when they were listed.

        Those before are deleted, but for one of another machine that is further and was not fetched: then these are
        not sent. False if the place cannot be used.
        """
        return bool(self._safely(lambda: self._send_checkpoint(step, key, folder, there)))

    def _at(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    def _safely(self, work: Callable[[], Done], refused: Callable[[Exception], bool] = lambda _: False) -> Done | None:
        """Do what takes the network; what fails is said in a line, and is not tried again at once.

        What is `refused` is raised: it is not the network's fault.
        """
        with self._lock:
            if time.monotonic() < self._away_until:
                return None
            try:
                return work()
            except Exception as error:  # each kind of place has errors of its own
                if refused(error):
                    raise
                self._away_until = time.monotonic() + PAUSE
                reason = redact(" ".join(f"{type(error).__name__}: {error}".split()))[:500]
                log.warning("store.remote: %s cannot be used, going on without: %s", redact(self.address), reason)
                return None

    def _read(self, name: str) -> Manifest | None:
        """Return what a manifest says of itself; None if it is not there, or cannot be believed."""
        try:
            told = self._files.cat_file(self._at(name))
        except FileNotFoundError:
            return None
        self._wrong.add(name)  # until it is shown to be right
        try:
            manifest = Manifest.model_validate_json(told)
        except ValueError:
            log.warning("store.remote: %s is no manifest, and is not taken", name)
            return None
        if any(PurePosixPath(each).is_absolute() or ".." in PurePosixPath(each).parts for each in manifest.files):
            log.warning("store.remote: %s names files outside of its folder, and is not taken", name)
            return None
        if f"{manifest.step}/{manifest.key}" != name.partition(".")[0]:
            log.warning("store.remote: %s is that of something else, and is not taken", name)
            return None
        return manifest

    def _take(self, found: Manifest, name: str, place: Callable[[Manifest, str], str], folder: Path) -> Manifest | None:
        """Bring the files that a manifest names into a folder; None if they are not as they were written."""
        manifest = found.model_copy(update={"folder": folder})
        require_room(folder.parent, sum(file.bytes for file in manifest.files.values()))
        for each in manifest.files:
            (folder / each).parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                self._files.get_file(self._at(place(manifest, each)), str(folder / each))
        if damage := manifest.damage():
            log.warning("store.remote: %s is not taken: %s", name, damage)
            return None
        self._wrong.discard(name)
        return manifest

    def _send(self, manifest: Manifest) -> bool:
        name = f"{manifest.step}/{manifest.key}.json"
        if name in self._wrong or not self._files.exists(self._at(name)):
            self._send_files(manifest, anew=name in self._wrong)
            self._write(self._at(name), manifest)
            self._wrong.discard(name)
        checkpoint = self._at(f"{manifest.step}/{manifest.key}.checkpoint")
        if self._files.exists(checkpoint):
            with suppress(FileNotFoundError):  # cut off before the first was complete
                self._files.rm(f"{checkpoint}.json")
            self._files.rm(checkpoint, recursive=True)
        return True

    def _send_files(self, manifest: Manifest, anew: bool) -> None:
        began = time.monotonic()
        for each, file in manifest.files.items():
            there = self._at(_by_hash(manifest, each))
            if anew or not (self._files.exists(there) and self._files.size(there) == file.bytes):
                self._put(manifest.folder / each, there, file.bytes)
        total = sum(file.bytes for file in manifest.files.values())
        log.info("store.remote: sent %s, %.1f MB in %.1f s", manifest.step, total / 1e6, time.monotonic() - began)

    def _send_checkpoint(self, step: str, key: str, folder: Path, there: dict[str, int]) -> bool:
        parent = f"{step}/{key}.checkpoint"
        if before := self._read(f"{parent}.json"):
            told = str(before.facts.get("place"))
            if told not in self._replaceable and _progress(_lengths(before)) > _progress(there):
                return True
            self._replaceable.add(told)
        place = f"{parent}/{uuid.uuid4().hex}"
        self._replaceable.add(place)  # whether all of it arrives or not
        files = {
            name: File(sha256=self._put(folder / name, self._at(f"{place}/{name}"), size), bytes=size)
            for name, size in there.items()
        }
        manifest = Manifest(step=step, key=key, folder=folder, files=files, facts={"place": place})
        self._write(self._at(f"{parent}.json"), manifest.sealed())
        for each in self._files.ls(self._at(parent), detail=False):
            if f"{parent}/{PurePosixPath(each).name}" in self._replaceable - {place}:
                self._files.rm(each, recursive=True)
        return True

    def _put(self, path: Path, place: str, size: int) -> str:
        """Send so many bytes of a file, and return their SHA-256."""
        self._files.makedirs(str(PurePosixPath(place).parent), exist_ok=True)
        digest, left = hashlib.sha256(), size
        with path.open("rb") as source, self._files.open(place, "wb") as target:
            while left and (chunk := source.read(min(CHUNK, left))):
                digest.update(chunk)
                target.write(chunk)
                left -= len(chunk)
        return digest.hexdigest()

    def _write(self, place: str, manifest: Manifest) -> None:
        self._files.makedirs(str(PurePosixPath(place).parent), exist_ok=True)
        # Where it lay on this machine is nobody's business.
        self._files.pipe_file(place, manifest.model_copy(update={"folder": Path()}).model_dump_json().encode())


def _lengths(manifest: Manifest) -> dict[str, int]:
    return {name: file.bytes for name, file in manifest.files.items()}


def _progress(files: Mapping[str, int]) -> tuple[int, int]:
    """Return how far a checkpoint is (`components.core.store.CHECKPOINT`): its step, and bytes of files that grow."""
    steps = [int(path.parts[0]) for path in map(PurePosixPath, files) if path.parts[0].isdecimal()]
    return max(steps, default=0), sum(size for name, size in files.items() if "/" not in name)


def _by_hash(manifest: Manifest, name: str) -> str:
    """Return where a file of a result lies: equal ones lie there once."""
    digest = manifest.files[name].sha256
    return f"files/{digest[:2]}/{digest}"


def _by_place(manifest: Manifest, name: str) -> str:
    """Return where a file of a checkpoint lies: with those of the same one."""
    return f"{manifest.facts['place']}/{name}"


_current: ContextVar[Remote | None] = ContextVar("remote", default=None)


def remote() -> Remote | None:
    """Return the remote store of the run that is under way, if it has one."""
    return _current.get()


@contextmanager
def stored_at(address: str | None) -> Iterator[None]:
    """Have the steps of a run share what they make at an address.

    Raises:
        ConfigError: if it is none.
    """
    token = _current.set(Remote(address) if address else None)
    try:
        yield
    finally:
        _current.reset(token)
