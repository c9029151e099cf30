import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.parquet as pq
import pytest

from components.core.errors import HashMismatch
from components.core.records import fingerprint
from components.data.download import download, source_identity
from components.data.sources import SourceConfig

MIRROR = Path(__file__).parents[2].parent / "shared/data"
OTHER_DISK = Path("/dev/shm")
MEMBER_SHA256 = "7d039a24a6083ed9ef0f806ebad56bbb976e3aeb8de05669173bfdc4996c239d"
UCI = SourceConfig.model_validate(
    {
        "url": "https://archive.ics.uci.edu/static/public/228/sms+spam+collection.zip",
        "member": "SMSSpamCollection",
        "sha256": MEMBER_SHA256,
        "format": "tsv",
        "header": False,
        "quoting": "lenient",
        "columns": {"label": 0, "text": 1},
    }
)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def local(tmp_path: Path, content: bytes = b"text,label\nhello,ham\n", **options: object) -> SourceConfig:
    (tmp_path / "texts.csv").write_bytes(content)
    return SourceConfig.model_validate({"url": str(tmp_path / "texts.csv"), **options})


@pytest.mark.skipif(not MIRROR.is_dir(), reason=f"{MIRROR} is absent")
def test_the_real_data_from_a_mirror(tmp_path: Path, out: Path) -> None:
    facts = download(UCI, tmp_path / "downloads", MIRROR, out)
    raw = out / "raw/SMSSpamCollection"
    assert hashlib.sha256(raw.read_bytes()).hexdigest() == MEMBER_SHA256
    assert facts == {
        "url": UCI.url,
        "member": "SMSSpamCollection",
        "sha256": MEMBER_SHA256,
        "bytes": raw.stat().st_size,
        "rows": 5572,
        "columns": ["row", "text", "label"],
        "unused": [],
        "notes": [],
        "reading": {
            "format": "tsv",
            "header": False,
            "delimiter": None,
            "quoting": "lenient",
            "encoding": "utf-8",
            "columns": {"label": 0, "text": 1},
        },
    }
    assert pq.read_metadata(out / "table.parquet").num_rows == 5572
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()) == [
        "raw/SMSSpamCollection",
        "table.parquet",
    ]
    again = tmp_path / "again"
    again.mkdir()
    # Kept by its hash: neither mirror nor network is needed.
    assert download(UCI, tmp_path / "downloads", None, again) == facts
    assert (again / "table.parquet").read_bytes() == (out / "table.parquet").read_bytes()


def test_a_wrong_hash_leaves_the_output_empty(tmp_path: Path, out: Path) -> None:
    with pytest.raises(HashMismatch):
        download(local(tmp_path, sha256="0" * 64), tmp_path / "downloads", None, out)
    assert list(out.iterdir()) == []


def test_editing_the_source_does_not_edit_what_was_stored(tmp_path: Path, out: Path) -> None:
    download(local(tmp_path), tmp_path / "downloads", None, out)
    local(tmp_path, b"text,label\nchanged,ham\n")
    assert (out / "raw/texts.csv").read_bytes() == b"text,label\nhello,ham\n"


def test_the_raw_file_takes_its_room_on_the_disk_once(tmp_path: Path, out: Path) -> None:
    download(local(tmp_path), tmp_path / "downloads", None, out)
    (kept,) = (tmp_path / "downloads").rglob("texts.csv")
    assert (out / "raw/texts.csv").samefile(kept)
    kept.unlink()
    assert (out / "raw/texts.csv").read_bytes() == b"text,label\nhello,ham\n"


@pytest.mark.skipif(not OTHER_DISK.is_dir(), reason=f"{OTHER_DISK} is absent")
def test_the_raw_file_is_copied_to_another_disk(tmp_path: Path) -> None:
    with TemporaryDirectory(dir=OTHER_DISK) as folder:
        download(local(tmp_path), tmp_path / "downloads", None, Path(folder))
        raw = Path(folder, "raw/texts.csv")
        assert raw.read_bytes() == b"text,label\nhello,ham\n"
        assert raw.stat().st_nlink == 1


def test_identity_follows_what_changes_the_result(tmp_path: Path) -> None:
    source = local(tmp_path)
    first = fingerprint(source_identity(source, None))
    assert fingerprint(source_identity(source, None)) == first
    for same in ({"timeout": 7}, {"attempts": 2}, {"backoff": 0}, {"max_bytes": 1000}):
        assert fingerprint(source_identity(source.model_copy(update=same), None)) == first
    for other in ({"quoting": "none"}, {"label_map": {"ham": "no"}}, {"format": "tsv"}):
        assert fingerprint(source_identity(source.model_copy(update=other), None)) != first
    local(tmp_path, b"text,label\nchanged,ham\n")
    assert fingerprint(source_identity(source, None)) != first


def test_identity_of_a_mirrored_file_follows_its_content(tmp_path: Path) -> None:
    source = SourceConfig(url="http://127.0.0.1:1/texts.csv")  # where nobody listens
    assert source_identity(source, tmp_path)["content"] is None
    local(tmp_path)
    content = hashlib.sha256(b"text,label\nhello,ham\n").hexdigest()
    assert source_identity(source, tmp_path)["content"] == content


def test_identity_of_a_file_that_is_not_there(tmp_path: Path) -> None:
    source = SourceConfig(url=str(tmp_path / "nowhere.csv"))
    assert source_identity(source, None)["content"] is None
