"""Archives that unpack to far more than they are."""

import bz2
import gzip
import io
import lzma
import random
import re
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from components.core.errors import UnpackError
from components.data.fetch import fetch
from components.data.sources import SourceConfig
from tests.data.archives import tarred, unpacked, zipped

ZEROS = bytes(20_000_000)
GENEROUS = 1 << 30
REFUSED = (
    r"refused to unpack 'sms': [\d,]+ bytes would become (?:more than )?[\d,]+, a ratio of (?:more than )?([\d,]+)"
)
COMPRESSIONS = [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]


@pytest.mark.ci
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_zip_is_refused_by_what_it_declares(tmp_path: Path, compression: int) -> None:
    archive = bytearray(zipped({"sms": ZEROS}, compression))
    with pytest.raises(UnpackError, match=REFUSED) as caught:
        unpacked(tmp_path, bytes(archive), "sms", GENEROUS)
    found = re.search(REFUSED, str(caught.value))
    assert found
    assert int(found[1].replace(",", "")) > 900
    # Its content is not looked at: broken, it is refused with the same words.
    archive[34:60] = bytes(26)
    with pytest.raises(UnpackError, match=re.escape(str(caught.value))):
        unpacked(tmp_path, bytes(archive), "sms", GENEROUS)


@pytest.mark.ci
@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_what_declares_nothing_is_stopped_on_the_way(tmp_path: Path, pack: object) -> None:
    for body in (ZEROS, tarred({"sms": ZEROS}), tarred({"other": ZEROS, "sms": b"x"})):
        with pytest.raises(UnpackError, match=REFUSED):
            unpacked(tmp_path, pack(body), "sms", GENEROUS)  # type: ignore[operator]


def test_a_compressed_size_that_lies_is_not_believed(tmp_path: Path) -> None:
    archive = bytearray(zipped({"sms": ZEROS, "z": b"z"}))
    central = archive.index(b"PK\x01\x02")
    struct.pack_into("<I", archive, central + 20, 10_000_000)
    with pytest.raises(UnpackError, match=REFUSED):
        unpacked(tmp_path, bytes(archive), "sms", GENEROUS)


def test_entries_that_overlap_count_what_is_their_own(tmp_path: Path) -> None:
    """As in Fifield's bomb: entries share one kernel, of which each says that it is its own."""
    padding = random.Random(1).randbytes(200_000)
    archive = bytearray(zipped({"sms": padding + ZEROS, "other": padding}))
    assert len(unpacked(tmp_path, bytes(archive), "sms", GENEROUS)) == 20_200_000, "a ratio of 91"
    second = archive.index(b"PK\x01\x02", archive.index(b"PK\x01\x02") + 1)
    struct.pack_into("<I", archive, second + 42, 40)  # where the other entry begins: inside of this one
    with pytest.raises(UnpackError, match=REFUSED):
        unpacked(tmp_path, bytes(archive), "sms", GENEROUS)


def test_a_declared_size_that_lies_ends_there(tmp_path: Path) -> None:
    archive = bytearray(zipped({"sms": ZEROS}))
    struct.pack_into("<I", archive, archive.rindex(b"PK\x01\x02") + 24, 1000)
    with pytest.raises(UnpackError, match=r"CRC|Overlapped|too early"):
        unpacked(tmp_path, bytes(archive), "sms", GENEROUS)


def test_a_sparse_member_of_a_tar_counts_in_full(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        info = tarfile.TarInfo("sms")
        info.type, info.size = tarfile.GNUTYPE_SPARSE, 512
        archive.addfile(info, io.BytesIO(b"x" * 512))
    block = bytearray(buffer.getvalue())
    block[386:398], block[398:410] = b"%011o\0" % 0, b"%011o\0" % 512  # one piece: from 0 on, 512 bytes
    block[483:495] = b"%011o\0" % 500_000_000  # the size that it stands for
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block[:512])
    with pytest.raises(UnpackError, match=REFUSED):
        unpacked(tmp_path, bytes(block), "sms", GENEROUS)


@pytest.mark.slow
def test_what_repeats_itself_a_lot_is_no_bomb(tmp_path: Path) -> None:
    lines = (
        b'{"label": "ham", "text": "message %08x of a template"}\n' % (row * 2654435761 % 2**32)
        for row in range(99_999)
    )
    table = b"".join(lines)
    for archive in (zipped({"sms": table}), gzip.compress(table), lzma.compress(table), tarred({"sms": table}, "w:xz")):
        assert unpacked(tmp_path, archive, "sms", GENEROUS) == table
    small = bytes(1_000_000)
    assert unpacked(tmp_path, zipped({"sms": small}), "sms", GENEROUS) == small, "a megabyte is no bomb"


def test_the_smaller_bound_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnpackError, match=r"more than 2,000,000 bytes would come out; raise source\.max_bytes"):
        unpacked(tmp_path, zipped({"sms": ZEROS}), "sms", 2_000_000)
    (tmp_path / "bomb.zip").write_bytes(zipped({"sms": ZEROS}))
    source = SourceConfig(url=str(tmp_path / "bomb.zip"), member="sms")
    with pytest.raises(UnpackError, match=r"^bomb\.zip: refused .*unpack it yourself and set source\.url to the file"):
        fetch(source, tmp_path / "downloads", None)
    assert [path for path in (tmp_path / "downloads").rglob("*") if path.is_file()] == []
