import contextlib
import gzip
import io
import random
import struct
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.core.errors import UnpackError
from tests.data.archives import tarred, unpacked, zipped

BODY = random.Random(7).randbytes(1000) + b"ham\thello\n" * 5000
TAR_MODES = ["w", "w:gz", "w:bz2", "w:xz"]


def tarred_special(name: str, kind: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    return buffer.getvalue()


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zip(tmp_path: Path, compression: int) -> None:
    archive = zipped({"readme": b"no", "data/sms.tsv": BODY, "z": b"no"}, compression)
    assert unpacked(tmp_path, archive) == BODY


@pytest.mark.parametrize("mode", TAR_MODES)
@pytest.mark.parametrize("prefix", ["", "./"])
def test_tar(tmp_path: Path, mode: str, prefix: str) -> None:
    archive = tarred({"readme": b"no", f"{prefix}data/sms.tsv": BODY, "z": b"no" * 9999}, mode)
    assert unpacked(tmp_path, archive) == BODY


def test_an_empty_member(tmp_path: Path) -> None:
    assert unpacked(tmp_path, zipped({"data/sms.tsv": b""})) == b""
    assert unpacked(tmp_path, tarred({"data/sms.tsv": b""})) == b""


def test_plain_gzip_holds_one_file(tmp_path: Path) -> None:
    assert unpacked(tmp_path, gzip.compress(BODY), "any name") == BODY
    assert unpacked(tmp_path, gzip.compress(b"few")) == b"few"


def test_a_missing_member_names_at_most_ten(tmp_path: Path) -> None:
    names = {f"file{number:02}": b"" for number in range(13)}
    for archive in (zipped(names), tarred(names), tarred(names, "w:gz")):
        with pytest.raises(UnpackError, match=r"holds no 'sms'; it holds 'file00', .*'file09' and 3 more") as caught:
            unpacked(tmp_path, archive, "sms")
        assert "file10" not in str(caught.value)
    with pytest.raises(UnpackError, match="it holds nothing"):
        unpacked(tmp_path, zipped({}), "sms")


@pytest.mark.parametrize("member", ["/etc/passwd", "../evil", "a/../../evil", "a\\..\\evil", "", ".", "a\0b"])
@pytest.mark.parametrize("pack", [zipped, tarred])
def test_members_outside_are_refused(tmp_path: Path, member: str, pack: object) -> None:
    with pytest.raises(UnpackError, match="not a path inside"):
        unpacked(tmp_path, pack({"/etc/passwd": b"evil", "../evil": b"evil"}), member)  # type: ignore[operator]


def test_dangerous_neighbours_are_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    archive = {"../evil": b"evil", "/evil": b"evil", "data/sms.tsv": BODY}
    assert unpacked(folder, zipped(archive)) == BODY
    assert unpacked(folder, tarred(archive)) == BODY
    assert [entry.name for entry in tmp_path.iterdir()] == ["inside"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_what_is_no_file_in_a_tar_is_refused(tmp_path: Path, kind: bytes) -> None:
    with pytest.raises(UnpackError, match="a link, a folder or a device"):
        unpacked(tmp_path, tarred_special("sms", kind), "sms")


@pytest.mark.parametrize("mode", [0o120777, 0o020666, 0o010666, 0o040755])
def test_what_is_no_file_in_a_zip_is_refused(tmp_path: Path, mode: int) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("sms")
        info.external_attr = mode << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(UnpackError, match="a link, a folder or a device"):
        unpacked(tmp_path, buffer.getvalue(), "sms")


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    archive = bytearray(zipped({"sms": BODY}))
    central = archive.rindex(b"PK\x01\x02")
    archive[central + 8] |= 1
    with pytest.raises(UnpackError, match="encrypted"):
        unpacked(tmp_path, bytes(archive), "sms")


@pytest.mark.ci
@pytest.mark.parametrize("mode", ["zip", "gz", *TAR_MODES])
def test_bombs_stop_at_the_limit(tmp_path: Path, mode: str) -> None:
    bomb = {"sms": b"\0" * 20_000_000}
    archive = zipped(bomb) if mode == "zip" else gzip.compress(bomb["sms"]) if mode == "gz" else tarred(bomb, mode)
    with pytest.raises(UnpackError, match=r"more than 1,000,000 bytes.*source\.max_bytes"):
        unpacked(tmp_path, archive, "sms", 1_000_000)


def test_a_size_that_lies_is_not_believed(tmp_path: Path) -> None:
    archive = bytearray(zipped({"sms": b"\0" * 5_000_000}))
    central = archive.rindex(b"PK\x01\x02")
    struct.pack_into("<I", archive, central + 24, 10)
    with pytest.raises(UnpackError):
        unpacked(tmp_path, bytes(archive), "sms", 1_000_000)


def test_a_bomb_beside_the_member_counts_in_a_compressed_tar(tmp_path: Path) -> None:
    archive = tarred({"sms": b"small", "bomb": b"\0" * 20_000_000}, "w:gz")
    with pytest.raises(UnpackError, match="more than"):
        unpacked(tmp_path, archive, "sms", 1_000_000)


def test_exactly_the_limit_is_allowed(tmp_path: Path) -> None:
    assert unpacked(tmp_path, zipped({"sms": BODY}), "sms", len(BODY)) == BODY
    assert unpacked(tmp_path, gzip.compress(BODY), "sms", len(BODY)) == BODY
    with pytest.raises(UnpackError):
        unpacked(tmp_path, gzip.compress(BODY), "sms", len(BODY) - 1)


@pytest.mark.parametrize("archive", [b"", b"ham\thello\n" * 100, b"%PDF-1.7"])
def test_what_is_no_archive_is_said_to_be_none(tmp_path: Path, archive: bytes) -> None:
    with pytest.raises(UnpackError, match=r"is not a zip.*drop source\.member"):
        unpacked(tmp_path, archive)


def test_a_flipped_byte_is_noticed(tmp_path: Path) -> None:
    for archive in (zipped({"sms": BODY}, zipfile.ZIP_STORED), gzip.compress(BODY), tarred({"sms": BODY}, "w:gz")):
        damaged = bytearray(archive)
        damaged[700] ^= 1
        with pytest.raises(UnpackError, match="fetch it again"):
            unpacked(tmp_path, bytes(damaged), "sms")


def test_a_bad_checksum_behind_the_member_is_noticed(tmp_path: Path) -> None:
    damaged = bytearray(tarred({"sms": BODY}, "w:gz"))
    damaged[-5] ^= 1
    damaged[-8] ^= 1
    with pytest.raises(UnpackError, match="CRC"):
        unpacked(tmp_path, bytes(damaged), "sms")


ARCHIVES = [zipped({"readme": b"no", "sms": BODY}), gzip.compress(BODY, mtime=0)]
ARCHIVES += [tarred({"readme": b"no", "sms": BODY}, mode) for mode in TAR_MODES]


@pytest.mark.ci
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(ARCHIVES), st.data())
def test_a_truncated_archive_is_never_half_a_file(archive: bytes, data: st.DataObject) -> None:
    end = data.draw(st.integers(0, len(archive) - 1))
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = unpacked(Path(folder), archive[:end], "sms")
        except UnpackError:
            return
        # What was cut off is the padding at the end of a tar.
        assert found == BODY


@pytest.mark.long
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(ARCHIVES), st.data())
def test_damage_ends_in_an_unpack_error_or_within_the_limit(archive: bytes, data: st.DataObject) -> None:
    damaged = bytearray(archive)
    near_an_end = st.one_of(st.integers(0, 600), st.integers(len(archive) - 300, len(archive) - 1))
    for place, value in data.draw(st.lists(st.tuples(near_an_end, st.integers(0, 255)), min_size=1, max_size=6)):
        damaged[min(place, len(damaged) - 1)] = value
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(UnpackError):
        assert len(unpacked(Path(folder), bytes(damaged), "sms", 100_000)) <= 100_000
