"""Archives made in memory, and what unpacking one writes."""

import io
import tarfile
import zipfile
from pathlib import Path

from components.core.errors import UnpackError
from components.data.unpack import unpack

LIMIT = 1 << 20


def zipped(entries: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, body in entries.items():
            archive.writestr(name, body)
    return buffer.getvalue()


def tarred(entries: dict[str, bytes], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, body in entries.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return buffer.getvalue()


def unpacked(folder: Path, archive: bytes, member: str = "data/sms.tsv", limit: int = LIMIT) -> bytes:
    """Return what `unpack` writes; whatever happens, nothing but the archive and the target may be left."""
    path, target = folder / "archive", folder / "target"
    path.write_bytes(archive)
    target.unlink(missing_ok=True)
    try:
        unpack(path, member, target, limit)
        return target.read_bytes()
    except UnpackError as error:
        assert not target.exists()
        assert "\n" not in str(error)  # noqa: PT017
        raise
    finally:
        assert {entry.name for entry in folder.iterdir()} <= {"archive", "target"}
