"""One member out of an archive, without trusting the archive."""

import bz2
import contextlib
import gzip
import io
import lzma
import shutil
import stat
import struct
import tarfile
import uuid
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from components.core.errors import GradusError, UnpackError
from components.data.addresses import is_safe_member

if TYPE_CHECKING:
    from _typeshed import SupportsRead

CHUNK = 1 << 18
HIGHEST_RATIO = 200
"""Bytes that may come out of one byte: text is packed to a tenth, tables that repeat themselves to a hundredth."""
HARMLESS = 1 << 20  # bytes that may come out whatever the ratio
NAMES_SHOWN = 10
ENCRYPTED = 0x1  # bit of a zip entry's flags
ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # the second: an empty one
COMPRESSED: dict[bytes, Callable[[IO[bytes]], IO[bytes]]] = {
    b"\x1f\x8b": lambda file: cast(IO[bytes], gzip.GzipFile(fileobj=file)),
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
# What the standard library raises on bytes that are not the archive they claim to be. OSError covers gzip and
# bz2, and a full disk; NotImplementedError and RuntimeError are zipfile's for methods it does not know.
BROKEN = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, ValueError,
    NotImplementedError, RuntimeError,
)  # fmt: skip


class Bounded(io.RawIOBase):
    """A stream that raises `refusal` instead of giving more than `limit` bytes in all."""

    def __init__(self, stream: "SupportsRead[bytes]", limit: int, refusal: GradusError) -> None:
        self.stream, self.left, self.refusal = stream, limit, refusal

    def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes.

        Raises:
            GradusError: `refusal`, when there are more bytes than the limit.
        """
        data = self.stream.read(self.left + 1 if size < 0 else min(size, self.left + 1))
        self.left -= len(data)
        if self.left < 0:
            raise self.refusal
        return data


@dataclass(frozen=True)
class Job:
    """What is to be unpacked: the archive's name and bytes, the member, where to, and at most how many bytes."""

    archive: str
    size: int
    member: str
    draft: Path
    max_bytes: int

    def bounded(self, stream: "SupportsRead[bytes]") -> Bounded:
        """Return the stream, limited to the bytes allowed, and to those that so small an archive may hold."""
        most = max(HIGHEST_RATIO * self.size, HARMLESS)
        if most < self.max_bytes:
            ratio = f"more than {most // max(self.size, 1):,}"
            return Bounded(stream, most, self.bomb(self.size, f"more than {most:,}", ratio))
        return Bounded(stream, self.max_bytes, self.too_large())

    def check_declared(self, unpacked: int, packed: int) -> None:
        """Refuse what an archive says of itself: `packed` bytes in it would become `unpacked` ones.

        Raises:
            UnpackError: if these are too many, or too many for so few.
        """
        if unpacked > self.max_bytes:
            raise self.too_large()
        if unpacked > max(HIGHEST_RATIO * packed, HARMLESS):
            raise self.bomb(packed, f"{unpacked:,}", f"{unpacked // max(packed, 1):,}")

    def bomb(self, packed: int, unpacked: str, ratio: str) -> UnpackError:
        """Return the error for something that unpacks to far more than it is."""
        return UnpackError(
            f"{self.archive}: refused to unpack {self.member!r}: {packed:,} bytes would become {unpacked}, a ratio of "
            f"{ratio} where at most {HIGHEST_RATIO} is allowed; if it is no decompression bomb, unpack it yourself and "
            "set source.url to the file"
        )

    def too_large(self) -> UnpackError:
        """Return the error for too many bytes."""
        said = f"more than {self.max_bytes:,} bytes would come out; raise source.max_bytes if that is expected"
        return UnpackError(f"{self.archive}: {said}")

    def not_a_file(self) -> UnpackError:
        """Return the error for a member that is something else."""
        said = "it is a link, a folder or a device, not a file"
        return UnpackError(f"{self.archive}: refused to unpack {self.member!r}: {said}")

    def check_member(self, names: list[str]) -> None:
        """Raise UnpackError if the member is not among `names`."""
        if self.member not in names:
            shown = ", ".join(repr(name) for name in names[:NAMES_SHOWN]) or "nothing"
            more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
            said = f"holds no {self.member!r}; it holds {shown}{more}: set source.member to one of them"
            raise UnpackError(f"{self.archive} {said}")


def unpack(archive: Path, member: str, target: Path, max_bytes: int) -> None:
    """Write the file `member` of a zip or tar (plain, gz, bz2, xz) to `target`, atomically.

    What the archive is, is told by its content, not by its name. A plain `.gz`, `.bz2` or `.xz` holds one file
    without a name worth trusting: it is unpacked whatever `member` is. Sizes that an archive declares are looked at
    first, and bytes are counted as they come out, whatever it says; in a compressed tar, everything that has to be
    decompressed counts.

    Raises:
        UnpackError: if there is no such member; if it is not a plain file (a link, a folder, a device), is
            encrypted, or would lie outside the archive; if more than `max_bytes` bytes come out, or over
            `HIGHEST_RATIO` times what went in; if the archive is damaged or is none.
    """
    if not is_safe_member(member):
        raise UnpackError(f"{archive.name}: refused to unpack {member!r}: it is not a path inside the archive")
    draft = target.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with archive.open("rb") as file:
            _write_member(file, Job(archive.name, archive.stat().st_size, member, draft, max_bytes))
        draft.replace(target)
    except BROKEN as error:
        reason = str(error) or "it ends too early"
        raise UnpackError(
            f"{archive.name}: cannot unpack {member!r}: {reason}; if the archive is damaged, fetch it again"
        ) from error
    finally:
        draft.unlink(missing_ok=True)


def is_archive(path: Path) -> bool:
    """Return whether a file starts like an archive that `unpack` reads."""
    with path.open("rb") as file:
        start = file.read(tarfile.BLOCKSIZE)
    return start.startswith((*ZIP, *COMPRESSED)) or _is_tar_header(start)


def _write_member(file: IO[bytes], job: Job) -> None:
    start = file.read(tarfile.BLOCKSIZE)
    file.seek(0)
    opener = next((opener for magic, opener in COMPRESSED.items() if start.startswith(magic)), None)
    if start.startswith(ZIP):
        _write_from_zip(file, job)
    elif opener:
        with contextlib.closing(opener(file)) as stream:
            holds_tar = _is_tar_header(stream.read(tarfile.BLOCKSIZE))
            stream.seek(0)
            _write_from_tar(job.bounded(stream), job) if holds_tar else _copy(job.bounded(stream), job.draft)
    elif _is_tar_header(start):
        _write_from_tar(job.bounded(file), job)
    else:
        raise UnpackError(
            f"{job.archive} is not a zip, tar, gz, bz2 or xz archive; if it is the file itself, drop source.member"
        )


def _write_from_zip(file: IO[bytes], job: Job) -> None:
    with zipfile.ZipFile(file) as zipped:
        job.check_member(zipped.namelist())
        entry = zipped.getinfo(job.member)
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if entry.is_dir() or kind not in (0, stat.S_IFREG):
            raise job.not_a_file()
        if entry.flag_bits & ENCRYPTED:
            raise UnpackError(f"{job.archive}: {job.member!r} is encrypted; Gradus reads no encrypted archives")
        job.check_declared(entry.file_size, min(entry.compress_size, _room(zipped, entry)))
        with zipped.open(entry) as stream:
            _copy(job.bounded(stream), job.draft)


def _room(zipped: zipfile.ZipFile, entry: zipfile.ZipInfo) -> int:
    """Return the bytes between an entry's start and what comes next: one that claims more overlaps its neighbours."""
    rest = max(zipped.start_dir - entry.header_offset, 0)
    starts = (other.header_offset for other in zipped.infolist())
    return min((start - entry.header_offset for start in starts if start > entry.header_offset), default=rest)


def _write_from_tar(stream: Bounded, job: Job) -> None:
    names = []
    job = replace(job, member=_plain(job.member))
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        # To the end, though the member may come first: the last entry of a name is the one that counts.
        for entry in tar:
            names.append(_plain(entry.name))
            if names[-1] != job.member:
                continue
            content = tar.extractfile(entry) if entry.isreg() else None
            if content is None:
                raise job.not_a_file()
            if _copy(job.bounded(content), job.draft) != entry.size:
                raise EOFError
    while stream.read(CHUNK):  # ... and checksums of compressed data stand at its very end
        pass
    job.check_member(names)


def _copy(stream: Bounded, draft: Path) -> int:
    """Write a stream to `draft` and return how many bytes there were."""
    with draft.open("wb") as file:
        shutil.copyfileobj(stream, file, CHUNK)
        return file.tell()


def _is_tar_header(block: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.TarError:
        return False
    return True


def _plain(name: str) -> str:
    return name.removeprefix("./")
