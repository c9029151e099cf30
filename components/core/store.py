"""The content-addressed store: a folder a step and key, complete or not there at all."""

import logging
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from components.core.durable import keep_in_use, last_use, locked, sync, sync_names, unused
from components.core.errors import DataRejected, GradusError, NoRoom
from components.core.interruptions import hold_until_published, publication
from components.core.records import Facts, File, Manifest, sha256_of
from components.core.redaction import redact_prose
from components.core.room import disk_full_as_a_line, is_full, no_room_left
from components.core.sharing.remote import Remote
from components.core.sharing.sending import Sender, complete_files

MANIFEST = "manifest.json"
CHECKPOINT = "checkpoint"
"""Folder in which a block keeps what it goes on from if it is stopped. It must be of use whenever the block is cut off:
what stands in it under its name is whole. A folder whose name is a number is as far as that, and further than those of
lower ones; a file only grows."""

ENTRY = re.compile(r"\.?([0-9a-f]{32})(?:$|[.-])")
"""Names of folders of a key: its result, and before a dot or a hyphen what attempts at it have left."""

LastUse = tuple[int, int]
"""When a result was last computed, and last taken; different after each."""

log = logging.getLogger(__name__)


class Store:
    """Folders `<root>/<step>/<key>/`, written beside and renamed into place, the manifest last."""

    def __init__(self, root: Path, remote: Remote | None = None) -> None:
        self.root, self.remote = root, remote

    def produce(self, step: str, key: str, write: Callable[[Path], Facts]) -> Manifest:
        """Let `write` fill an empty folder, and publish what it wrote under `step` and `key`.

        Two processes that want the same key do the work once: the second says so, waits and takes the first's result.
        A result whose files are gone or changed is written again. What another machine has sent to the remote store is
        taken from there, and what it has begun is gone on with.

        Raises:
            GradusError: if the store cannot be written, or whatever `write` raises. If that names `out` as its
                `evidence`, what was written is kept beside, at `<key>.failed` or `<key>.interrupted`. What is in a
                folder `checkpoint` stands in `out` when the key is tried again, however the block was stopped, until
                the result is in its place; it is no part of the result.
        """
        folder = self.root / step / key
        with self._locked(folder):
            if found := self.find(step, key):
                _sweep(_stopped(folder))  # of a process that was killed right after it had published
                return found
            manifest = self._fetch(step, key, folder) or self._write(step, key, folder, write)
            keep_in_use(_used(folder))
            return manifest

    def find(self, step: str, key: str) -> Manifest | None:
        """Return the manifest under `step` and `key` if it is there and every file is as it was written.

        It stays there while this process lives (`remove`).
        """
        path = self.root / step / key / MANIFEST
        if path.is_file():
            keep_in_use(_used(path.parent))
        try:
            manifest = Manifest.model_validate_json(path.read_text())
        except (OSError, ValueError):
            return None
        manifest = manifest.model_copy(update={"folder": path.parent})  # the store may have been moved
        return None if manifest.damage() else manifest

    def folders(self) -> Iterator[tuple[str, str, Path]]:
        """Yield the step, the key and the folder of every result, and of what attempts at one have left."""
        for folder in sorted(self.root.glob("*/*")):
            if folder.is_dir() and (match := ENTRY.match(folder.name)):
                yield folder.parent.name, match[1], folder

    def last_use(self, step: str, key: str) -> LastUse | None:
        """Return when what stands under a key was last taken or computed; None while a process uses or computes it."""
        with self._idle(step, key) as used:
            return used

    def remove(self, step: str, key: str, folder: Path, used: LastUse | None) -> bool:
        """Remove a folder of `folders`, all of it or nothing, if what it holds was last used then.

        False if a process uses or computes it, or has done so since.
        """
        with self._idle(step, key) as last:
            free = last is not None and last == used
            if free and folder.is_dir():
                aside = Path(tempfile.mkdtemp(prefix=_drafts(key), dir=folder.parent))
                folder.rename(aside / "old")
                shutil.rmtree(aside, ignore_errors=True)
            return free

    def share(self, manifest: Manifest) -> None:
        """Let other machines have a result, where there is a remote store and it has not got it."""
        if self.remote:
            self.remote.send(manifest)

    @contextmanager
    def _idle(self, step: str, key: str) -> Iterator[LastUse | None]:
        """Tell when what stands under a key was last used if no process uses it; none begins to within the block."""
        lock, used = _lock(self.root / step / key), _used(self.root / step / key)
        with unused(lock) as computed, unused(used) as free:
            yield (last_use(lock), last_use(used)) if computed and free else None

    def _fetch(self, step: str, key: str, folder: Path) -> Manifest | None:
        """Take a result from the remote store, if that has it."""
        if not self.remote:
            return None
        draft = Path(tempfile.mkdtemp(prefix=_drafts(key), dir=folder.parent))
        try:
            with disk_full_as_a_line(draft):
                if not (found := self.remote.fetch(step, key, draft)):
                    return None
                manifest = found.model_copy(update={"folder": folder})
                (draft / MANIFEST).write_text(manifest.model_dump_json(indent=1))
            replace_folder(draft, folder)
            sync_names(folder.parent)
            _sweep(_stopped(folder))
            return manifest
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    @contextmanager
    def _checkpoints_shared(self, step: str, key: str, draft: Path) -> Iterator[None]:
        """Go on from what another machine has sent, and send what is written meanwhile."""
        if not self.remote:
            yield
            return
        fetched = Path(tempfile.mkdtemp(prefix=_drafts(key), dir=draft.parent))
        if self.remote.fetch_checkpoint(step, key, fetched, complete_files(draft / CHECKPOINT)):
            _gather([fetched], draft / CHECKPOINT)
        shutil.rmtree(fetched, ignore_errors=True)
        sender = Sender(self.remote, step, key, draft / CHECKPOINT)
        try:
            yield
        except BaseException:
            sender.stop()
            raise
        sender.finish()

    def _write(self, step: str, key: str, folder: Path, write: Callable[[Path], Facts]) -> Manifest:
        started = time.monotonic()
        left = _stopped(folder)
        draft = Path(tempfile.mkdtemp(prefix=_drafts(key), dir=folder.parent))
        with publication():
            try:
                _gather((each / CHECKPOINT for each in left), draft / CHECKPOINT)  # the newest first
                _sweep(each for each in left if each.name.startswith("."))
                with disk_full_as_a_line(draft), self._checkpoints_shared(step, key, draft):
                    facts = redact_prose(write(draft))
                hold_until_published()
                if (draft / CHECKPOINT).is_dir():  # kept in a draft of its own until the result is in its place
                    aside = Path(tempfile.mkdtemp(prefix=_drafts(key), dir=draft.parent))
                    (draft / CHECKPOINT).rename(aside / CHECKPOINT)
                    left.append(aside)
                manifest = Manifest(
                    step=step,
                    key=key,
                    folder=folder,
                    files=describe(draft),
                    facts=facts,
                    seconds=round(time.monotonic() - started, 3),
                ).sealed()
                with disk_full_as_a_line(draft):
                    (draft / MANIFEST).write_text(manifest.model_dump_json(indent=1))
                    if left:  # a power cut must not take the result after what it was made from
                        sync(draft)
                replace_folder(draft, folder)
                sync_names(folder.parent)
                _sweep(left)
                return manifest
            except BaseException as error:
                if getattr(error, "evidence", None) == draft:
                    outcome = "rejected" if isinstance(error, DataRejected) else "failed"
                    kept = folder.with_name(f"{key}.{outcome if isinstance(error, Exception) else 'interrupted'}")
                    replace_folder(draft, kept)
                    error.evidence = kept  # type: ignore[attr-defined]
                raise
            finally:
                if not (draft / CHECKPOINT).is_dir():
                    shutil.rmtree(draft, ignore_errors=True)

    @contextmanager
    def _locked(self, folder: Path) -> Iterator[None]:
        def waiting() -> None:
            log.warning("%s: waiting for another run that computes it", folder.parent.name)

        with ExitStack() as held:
            try:
                held.enter_context(locked(_lock(folder), waiting))
            except OSError as error:
                if is_full(error):
                    raise NoRoom(no_room_left(folder.parent)) from error
                raise GradusError(
                    f"cannot write to {folder.parent}: {error.strerror}; set GRADUS_HOME to a folder you can write"
                ) from error
            yield


def _lock(folder: Path) -> Path:
    """Return the file that is locked while a result is computed."""
    return folder.with_name(f".{folder.name}.lock")


def _used(folder: Path) -> Path:
    """Return the file that is in use while a process has taken a result."""
    return folder.with_name(f".{folder.name}.used")


def _drafts(key: str) -> str:
    """Return how the names of a key's drafts begin."""
    return f".{key}-"


def _stopped(folder: Path) -> list[Path]:
    """Return what attempts that came to no end have left, the newest first; who asks holds the key's lock.

    What an error or an interruption kept has a name of its own; a process that was killed leaves its draft.
    """
    folders = [folder.with_name(f"{folder.name}.{outcome}") for outcome in ("interrupted", "failed")]
    folders += folder.parent.glob(f"{_drafts(folder.name)}*")
    return sorted((kept for kept in folders if kept.is_dir()), key=lambda kept: -kept.stat().st_mtime)


def _gather(left: Iterable[Path], checkpoint: Path) -> None:
    """Move what there is to go on from into one folder; of what has the same name, the longer file or the first folder.

    Renaming cannot be cut in two: at any moment it is in one of them, and the next attempt looks into all.
    """
    for kept in left:
        for each in kept.iterdir() if kept.is_dir() else ():
            checkpoint.mkdir(exist_ok=True)
            there = checkpoint / each.name
            longer = each.is_file() and there.is_file() and each.stat().st_size > there.stat().st_size
            if longer or not there.exists():
                each.replace(there)
    if checkpoint.is_dir():
        sync_names(checkpoint)
        sync_names(checkpoint.parent)


def _sweep(folders: Iterable[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def describe(folder: Path) -> dict[str, File]:
    """Return what stands in `folder`: hash and size of every file, and the rows of Parquet tables."""
    import pyarrow.parquet as pq

    return {
        path.relative_to(folder).as_posix(): File(
            sha256=sha256_of(path),
            bytes=path.stat().st_size,
            rows=pq.read_metadata(path).num_rows if path.suffix == ".parquet" else None,
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def replace_folder(source: Path, target: Path) -> None:
    """Rename `source` to `target`; what stood at `target` is moved aside first, then deleted."""
    if target.exists():
        aside = Path(tempfile.mkdtemp(prefix=_drafts(target.stem), dir=target.parent))  # swept, should this be cut off
        target.rename(aside / "old")
        source.rename(target)
        shutil.rmtree(aside)
    else:
        source.rename(target)
