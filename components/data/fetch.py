"""One raw file from a URL, a mirror folder or the disk: bounded, checked, and there whole or not at all."""

import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from glob import escape
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from components.core.errors import DownloadError, HashMismatch, TransientError
from components.core.http_client import CHUNK, HTTPError, Transient, answer, open_session, pieces, retried
from components.core.records import sha256_of
from components.data.addresses import file_name, local_path
from components.data.sources import FileSource
from components.data.unpack import Bounded, unpack

if TYPE_CHECKING:
    import requests

UNNAMED = "download"
DRAFT = ".fetch-"


def fetch(source: FileSource, downloads: Path, mirror: Path | None) -> Path:
    """Return the path of the source's raw (unpacked) file, at `<downloads>/<its sha256>/<its name>`.

    A file that is there already with the declared hash is not fetched again. Without a declared hash a URL is
    fetched, and a local file read, each time. What is interrupted leaves nothing under its final name.

    Raises:
        HashMismatch: if the file is not the one that `source.sha256` declares; it is not kept.
        UnpackError: if the archive is damaged, unsafe, too large, or lacks `source.member`.
        DownloadError: if the file cannot be fetched, is larger than `source.max_bytes`, or cannot be stored.
    """
    try:
        name = PurePosixPath(source.member).name if source.member else file_name(source.url) or UNNAMED
        kept = downloads / (source.sha256 or "") / name
        if source.sha256 and kept.is_file() and sha256_of(kept) == source.sha256:
            return kept
        with _workplace(downloads) as work:
            raw = _obtain(source, mirror, work)
            found = sha256_of(raw)
            if source.sha256 not in (None, found):
                what = f"{source.member!r} in {source.url}" if source.member else source.url
                raise HashMismatch(
                    f"{what} has SHA-256 {found}, expected {source.sha256}; if its owner published a new version, "
                    "set source.sha256 to the new hash, otherwise check source.url"
                )
            target = downloads / found / name
            target.parent.mkdir(exist_ok=True)
            return raw.replace(target)
    except OSError as error:
        raise DownloadError(
            f"cannot store {source.url} in {downloads}: {error.strerror or error}; "
            "make room there, or set GRADUS_HOME to a folder you can write"
        ) from error


def locate(source: FileSource, mirror: Path | None) -> Path | None:
    """Return the local file that stands for the source (its own, or the mirror's), or None for the network.

    In the mirror a URL is looked up by its decoded file name directly in that folder, or in a folder within it where
    the file has the hash that the source declares: `train.csv` may be anything's.
    """
    if path := local_path(source.url):
        return path
    name = file_name(source.url)
    if not (mirror and name):
        return None
    if (found := mirror / name).is_file():
        return found
    declared = None if source.member else source.sha256
    within = sorted(mirror.glob(f"*/{escape(name)}")) if declared else []
    return next((each for each in within if each.is_file() and sha256_of(each) == declared), None)


@contextmanager
def _workplace(downloads: Path) -> Iterator[Path]:
    """Give an empty folder inside `downloads`, so that publishing is a rename, and remove what killed processes left.

    Theirs are the folders that nobody holds a lock on.
    """
    downloads.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        with _locked(downloads):
            for left in downloads.glob(f"{DRAFT}*"):
                with suppress(OSError), _locked(left, wait=False):
                    shutil.rmtree(left)
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=DRAFT, dir=downloads)))
            stack.enter_context(_locked(folder))
        yield folder


@contextmanager
def _locked(folder: Path, *, wait: bool = True) -> Iterator[None]:
    # The kernel releases it when the process dies, however it dies.
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # Not every network file system locks folders: there nothing is swept.
        with suppress(OSError) if wait else nullcontext():
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


def _obtain(source: FileSource, mirror: Path | None, work: Path) -> Path:
    """Bring the source's raw file into the folder `work`, unchecked."""
    # The names are the source's own: messages about an archive use them.
    fetched = work / (file_name(source.url) or UNNAMED)
    origin = locate(source, mirror)
    if origin is None:
        _get(source, fetched)
    else:
        try:
            with origin.open("rb"):
                size = origin.stat().st_size
        except OSError as error:
            raise DownloadError(f"cannot read {origin}: {error.strerror}; check source.url") from error
        if size > source.max_bytes:
            raise _too_large(source, f"{origin} is")
    if source.member:
        raw = work / f"{fetched.name}.unpacked"
        unpack(origin or fetched, source.member, raw, source.max_bytes)
        return raw
    if origin:
        too_large = _too_large(source, f"{source.url} is")
        with origin.open("rb") as file, fetched.open("wb") as copy:
            shutil.copyfileobj(Bounded(file, source.max_bytes, too_large), copy, CHUNK)
    return fetched


def open_download(source: FileSource) -> "requests.Session":
    """Return a session for one request of a source's URL, and the redirects that it leads to."""
    from components.core.redirects import PublicStaysPublic

    session = open_session()
    if not source.allow_private:
        guard = PublicStaysPublic(source.url)
        session.mount("http://", guard)
        session.mount("https://", guard)
    return session


def _get(source: FileSource, target: Path) -> None:
    """Fetch `source.url` into `target`, trying again after transient errors."""

    def attempt() -> None:
        with (
            open_download(source) as session,
            answer(session, "GET", source.url, timeout=source.timeout) as response,
        ):
            _receive(source, response, target)

    try:
        retried(attempt, source.attempts, source.backoff)
    except Transient as error:
        name = file_name(source.url) or "the file"
        todo = "wait a while" if error.status else "check the network"
        raise TransientError(
            f"{error}; gave up after attempt {error.attempts}: {todo}, or put {name} into a folder and set "
            "GRADUS_MIRROR to it"
        ) from error
    except HTTPError as error:
        raise DownloadError(f"{error}; {error.todo or 'check source.url'}") from error


def _receive(source: FileSource, response: "requests.Response", target: Path) -> None:
    """Write the body to `target`, never more than allowed, and raise `Transient` if it is cut short.

    Bytes, speed and time left are shown where stderr is a terminal.
    """
    from rich import progress
    from rich.console import Console

    length = response.headers.get("Content-Length", "")
    plain = response.headers.get("Content-Encoding", "identity") == "identity"
    announced = int(length) if plain and length.isascii() and length.isdigit() else None  # of the body as it is read
    received = 0
    if announced is not None and announced > source.max_bytes:
        raise _too_large(source, f"{source.url} is announced with {announced:,} bytes,")
    figures = (progress.DownloadColumn(), progress.TransferSpeedColumn(), progress.TimeRemainingColumn())
    columns, console = ("{task.description}", progress.BarColumn(), *figures), Console(stderr=True)
    bar = progress.Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty())
    with target.open("wb") as file, bar:
        task = bar.add_task(target.name, total=announced)
        for piece in pieces(response):
            received += len(piece)
            if received > source.max_bytes:
                raise _too_large(source, f"{source.url} is")
            file.write(piece)
            bar.advance(task, len(piece))
    if announced is not None and received < announced:
        raise Transient(f"{source.url}: the answer was cut short: {received:,} of {announced:,} bytes")


def _too_large(source: FileSource, what: str) -> DownloadError:
    return DownloadError(f"{what} more than {source.max_bytes:,} bytes; raise source.max_bytes if that is expected")
