"""One member out of an archive, without trusting the archive."""

import bz2
import gzip
import io
import lzma
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

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
NO_FILE = "it is a link, a folder or a device, not a file"
ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # the second: an empty one
COMPRESSED: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": gzip.open,
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


@dataclass
class Job:
    """What is to be unpacked: the archive's name and bytes, the member, where to, and at most how many bytes."""

    archive: str
    size: int
    member: str
    target: Path
    max_bytes: int

    def copy(self, stream: "SupportsRead[bytes]") -> int:
        """Write a stream to `target`, never more than allowed, and return how many bytes there were."""
        with self.target.open("wb") as file:
            shutil.copyfileobj(self.bounded(stream), file, CHUNK)
            return file.tell()

    def bounded(self, stream: "SupportsRead[bytes]") -> Bounded:
        """Return the stream, limited to the bytes allowed, and to those that so small an archive may hold."""
        most = max(HIGHEST_RATIO * self.size, HARMLESS)
        if most < self.max_bytes:
            return Bounded(stream, most, self.bomb(self.size, most, "more than "))
        return Bounded(stream, self.max_bytes, self.too_large())

    def check_declared(self, unpacked: int, packed: int) -> None:
        """Refuse what an archive says of itself: `packed` bytes in it would become `unpacked` ones.

        Raises:
            UnpackError: if these are too many, or too many for so few.
        """
        if unpacked > self.max_bytes:
            raise self.too_large()
        if unpacked > max(HIGHEST_RATIO * packed, HARMLESS):
            raise self.bomb(packed, unpacked)

    def refused(self, why: str) -> UnpackError:
        """Return the error for a member that is not unpacked."""
        return UnpackError(f"{self.archive}: refused to unpack {self.member!r}: {why}")

    def bomb(self, packed: int, unpacked: int, more: str = "") -> UnpackError:
        """Return the error for something that unpacks to far more than it is."""
        return self.refused(
            f"{packed:,} bytes would become {more}{unpacked:,}, a ratio of {more}{unpacked // max(packed, 1):,} where "
            f"at most {HIGHEST_RATIO} is allowed; if it is no decompression bomb, unpack it yourself and set "
            "source.url to the file"
        )

    def too_large(self) -> UnpackError:
        """Return the error for too many bytes."""
        most = f"more than {self.max_bytes:,} bytes would come out"
        return UnpackError(f"{self.archive}: {most}; raise source.max_bytes if that is expected")

    def check_member(self, names: list[str]) -> None:
        """Raise UnpackError if the member is not among `names`."""
        if self.member not in names:
            shown = ", ".join(map(repr, names[:NAMES_SHOWN])) or "nothing"
            more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
            raise UnpackError(
                f"{self.archive} holds no {self.member!r}; it holds {shown}{more}: set source.member to one of them"
            )


def unpack(archive: Path, member: str, target: Path, max_bytes: int) -> None:
    """Write the file `member` of a zip or tar (plain, gz, bz2, xz) to `target`, whole or not at all.

    An archive is recognised by its content, not by its name. A plain `.gz`, `.bz2` or `.xz` holds one file
    without a name worth trusting: it is unpacked whatever `member` is. Sizes that an archive declares are looked at
    first, and bytes are counted as they come out, whatever it says; in a compressed tar, everything that has to be
    decompressed counts.

    Raises:
        UnpackError: if there is no such member; if it is not a plain file (a link, a folder, a device), is
            encrypted, or would lie outside the archive; if more than `max_bytes` bytes come out, or over
            `HIGHEST_RATIO` times what went in; if the archive is damaged or is none.
    """
    job = Job(archive.name, archive.stat().st_size, member, target, max_bytes)
    if not is_safe_member(member):
        raise job.refused("it is not a path inside the archive")
    try:
        with archive.open("rb") as file:
            _write_member(file, job)
    except BaseException as error:
        target.unlink(missing_ok=True)
        if not isinstance(error, BROKEN):
            raise
        reason = str(error) or "it ends too early"
        raise UnpackError(
            f"{archive.name}: cannot unpack {member!r}: {reason}; if the archive is damaged, fetch it again"
        ) from error


def is_archive(path: Path) -> bool:
    """Return whether a file starts like an archive that `unpack` reads."""
    with path.open("rb") as file:
        start = file.read(tarfile.BLOCKSIZE)
    return start.startswith((*ZIP, *COMPRESSED)) or _is_tar_header(start)


def _write_member(file: IO[bytes], job: Job) -> None:
    start = file.read(tarfile.BLOCKSIZE)
    file.seek(0)
    if start.startswith(ZIP):
        return _write_from_zip(file, job)
    opener = next((opener for magic, opener in COMPRESSED.items() if start.startswith(magic)), None)
    if not opener and not _is_tar_header(start):
        raise UnpackError(
            f"{job.archive} is not a zip, tar, gz, bz2 or xz archive; if it is the file itself, drop source.member"
        )
    with opener(file) if opener else nullcontext(file) as stream:
        holds_tar = _is_tar_header(stream.read(tarfile.BLOCKSIZE))
        stream.seek(0)
        if holds_tar:
            _write_from_tar(job.bounded(stream), job)
        else:
            job.copy(stream)
    return None


def _write_from_zip(file: IO[bytes], job: Job) -> None:
    with zipfile.ZipFile(file) as zipped:
        job.check_member(zipped.namelist())
        entry = zipped.getinfo(job.member)
        if entry.is_dir() or stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
            raise job.refused(NO_FILE)
        if entry.flag_bits & ENCRYPTED:
            raise job.refused("it is encrypted, and Gradus reads no encrypted archives")
        # Where the next entry begins: one that claims to be longer overlaps its neighbours.
        starts = (other.header_offset for other in zipped.infolist() if other.header_offset > entry.header_offset)
        room = min(starts, default=zipped.start_dir) - entry.header_offset
        job.check_declared(entry.file_size, min(entry.compress_size, max(room, 0)))
        with zipped.open(entry) as stream:
            job.copy(stream)


def _write_from_tar(stream: Bounded, job: Job) -> None:
    names = []
    job.member = job.member.removeprefix("./")
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        # To the end, though the member may come first: the last entry of a name is the one that counts.
        for entry in tar:
            names.append(entry.name.removeprefix("./"))
            if names[-1] != job.member:
                continue
            content = tar.extractfile(entry) if entry.isreg() else None
            if content is None:
                raise job.refused(NO_FILE)
            if job.copy(content) != entry.size:
                raise EOFError
    while stream.read(CHUNK):  # ... and checksums of compressed data stand at its very end
        pass
    job.check_member(names)


def _is_tar_header(block: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.TarError:
        return False
    return True
