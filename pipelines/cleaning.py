"""What a home holds, and what of it nothing refers to any more."""

import shutil
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from pydantic import BaseModel, Field

from components.core.durable import unused
from components.core.home import home
from components.core.room import files_in
from components.core.steps import RESULTS
from components.core.store import LastUse, Store
from components.tracking.cleaning import DeletedRun, purge, references
from components.tracking.stores import DATABASE, tracking_uri, without_password
from pipelines.sweeping.sweep import SWEEPS

STORE = "store"
KNOWN = {
    "downloads": "raw data, fetched once",
    "hub": "models and data of hubs, fetched once",
    "artifacts": "files of MLflow's runs and models",
    DATABASE: "MLflow's database",
    "judgements": "verdicts of judges, which cost money",
    "outbox": "what runs keep while MLflow is away",
    RESULTS: "Prefect's records of finished steps",
    SWEEPS: "logs and studies of sweeps",
}
"""What stands in a home beside the store."""


class Part(BaseModel):
    """A part of a home."""

    name: str
    holds: str
    entries: int
    bytes: int
    """A file that two parts share by a link counts in the first."""


class Usage(BaseModel):
    """What a home holds."""

    home: Path
    parts: list[Part]

    @property
    def bytes(self) -> int:
        """Bytes of all parts."""
        return sum(part.bytes for part in self.parts)


class Garbage(BaseModel):
    """Something that nothing refers to."""

    what: str
    """`step`, `attempt`, `run` or `sweep`."""
    name: str
    bytes: int
    removed: bool = False
    run: DeletedRun | None = Field(default=None, exclude=True)
    folder: Path | None = Field(default=None, exclude=True)
    used: LastUse | None = Field(default=None, exclude=True)
    """When a result was last used before anybody asked what refers to it."""


class Cleaned(BaseModel):
    """What nothing refers to, and what became of it."""

    home: Path
    garbage: list[Garbage]
    deleted: bool
    """Whether it was to be removed, and not listed alone."""
    on_server: str = ""
    """How to remove runs that were deleted on a server."""

    @property
    def bytes(self) -> int:
        """Bytes that removing them frees, or has freed."""
        return sum(each.bytes for each in self.garbage if each.removed or not self.deleted)


def usage() -> Usage:
    """Return what stands in the home, the largest first."""
    seen: set[tuple[int, int]] = set()
    parts = [
        Part(name=name, holds=holds, entries=_entries(home() / name), bytes=_bytes([home() / name], seen))
        for name, holds in KNOWN.items()
    ]
    steps: dict[str, list[Path]] = {}
    for step, _, folder in Store(home() / STORE).folders():
        steps.setdefault(step, []).append(folder)
    for step, folders in steps.items():
        name, holds = f"{STORE}/{step}", "results of the step, and attempts at it"
        parts.append(Part(name=name, holds=holds, entries=len(folders), bytes=_bytes(folders, seen)))
    return Usage(home=home(), parts=sorted((part for part in parts if part.entries), key=lambda part: -part.bytes))


def clean(delete: bool) -> Cleaned:
    """Find what nothing refers to, and remove it if it is to be deleted.

    Kept is what a run refers to that was not deleted in MLflow, or whose model is registered, and what a process has in
    use. Interrupted, it has removed each thing whole or not at all, but for the files of a run, which go before it.

    Raises:
        TrackingError: if MLflow does not answer: then nobody knows what is referred to, and nothing is removed.
    """
    # Listed first: a run that took one before has it noted by now, and one that takes it later is known by that.
    idle, sweeps = _idle(), sorted((home() / SWEEPS).glob("*/"))
    found = references(home())
    garbage = [*_steps(idle, found.steps), *_runs(found.deleted), *_sweeps(sweeps, found.sweeps)]
    for each in garbage if delete else ():
        each.removed = _remove(each)
    if delete:
        _remove_records()
    server = without_password(tracking_uri(home())) if found.on_server else ""
    told = f"{found.on_server:,} deleted runs are for `mlflow gc` on the machine of {server}" if server else ""
    return Cleaned(home=home(), garbage=garbage, deleted=delete, on_server=told)


def _idle() -> list[tuple[str, str, Path, LastUse]]:
    """Return the step, the key and the folder of each result that no process uses, and when one last did."""
    store = Store(home() / STORE)
    return [(*each, used) for each in store.folders() if (used := store.last_use(each[0], each[1]))]


def _steps(idle: Iterable[tuple[str, str, Path, LastUse]], kept: frozenset[str]) -> Iterator[Garbage]:
    for step, key, folder, used in idle:
        if f"{step}/{key}" not in kept:
            what = "step" if folder.name == key else "attempt"
            yield Garbage(what=what, name=f"{step}/{folder.name}", bytes=_freed([folder]), folder=folder, used=used)


def _runs(deleted: Iterable[DeletedRun]) -> Iterator[Garbage]:
    for run in deleted:
        yield Garbage(what="run", name=f"{run.run_id} {run.name}", bytes=_freed(run.folders), run=run)


def _sweeps(folders: Iterable[Path], kept: frozenset[str]) -> Iterator[Garbage]:
    for folder in folders:
        if folder.name not in kept:
            yield Garbage(what="sweep", name=folder.name, bytes=_freed([folder]), folder=folder)


def _remove(garbage: Garbage) -> bool:
    if garbage.run:
        purge(garbage.run, home())
        return True
    assert garbage.folder
    if garbage.what == "sweep":
        with unused(garbage.folder.with_name(f"{garbage.folder.name}.lock")) as idle:
            if idle:
                shutil.rmtree(garbage.folder, ignore_errors=True)
            return idle
    step, _, name = garbage.name.partition("/")
    return Store(home() / STORE).remove(step, name.lstrip(".")[:32], garbage.folder, garbage.used)


def _remove_records() -> None:
    """Remove what Prefect has kept of steps whose results are gone; it would not be believed anyway."""
    there = {f"{step}-{key}" for step, key, _ in Store(home() / STORE).folders()}
    for record in (home() / RESULTS).glob("*-*"):
        if record.is_file() and record.name not in there:
            record.unlink(missing_ok=True)


def _entries(place: Path) -> int:
    return sum(1 for _ in place.iterdir()) if place.is_dir() else int(place.exists())


def _bytes(places: Iterable[Path], seen: set[tuple[int, int]]) -> int:
    """Return the bytes of files that are not `seen` yet, by device and number."""
    total = 0
    for file in chain.from_iterable(map(files_in, places)):
        if (number := (file.st_dev, file.st_ino)) not in seen:
            seen.add(number)
            total += file.st_size
    return total


def _freed(places: Iterable[Path]) -> int:
    """Return the bytes that removing folders gives back: not those of files that are linked from elsewhere."""
    return sum(file.st_size for file in chain.from_iterable(map(files_in, places)) if file.st_nlink == 1)
