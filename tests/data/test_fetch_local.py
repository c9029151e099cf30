"""The mirror and local files; what comes over HTTP is in test_fetch.py."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from components.core.errors import DownloadError, HashMismatch, UnpackError
from components.data.fetch import fetch, locate
from components.data.sources import SourceConfig

BODY = b"ham\thello\nspam\twin a prize\n" * 4000
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def downloads(tmp_path: Path) -> Path:
    return tmp_path / "downloads"


def config(url: str, **options: object) -> SourceConfig:
    return SourceConfig.model_validate({"url": url, "attempts": 1, "timeout": 60, **options})


def left_behind(downloads: Path) -> list[Path]:
    return [path for path in downloads.rglob("*") if path.is_file()]


def test_the_mirror_comes_before_the_network(downloads: Path, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / "sms+spam collection.tsv").write_bytes(b"mirrored")
    # Port 1 answers nobody: asking it would be an error.
    source = config("http://127.0.0.1:1/data/sms+spam%20collection.tsv?version=1")
    path = fetch(source, downloads, mirror)
    assert (path.name, path.read_bytes()) == ("sms+spam collection.tsv", b"mirrored")


def test_a_name_that_many_files_have_is_found_in_a_folder_of_the_mirror_by_its_hash(tmp_path: Path) -> None:
    for folder, content in (("a", b"another"), ("b", BODY)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "train.csv").write_bytes(content)
    url = "http://127.0.0.1:1/data/train.csv"
    assert locate(config(url, sha256=SHA256), tmp_path) == tmp_path / "b/train.csv"
    assert locate(config(url), tmp_path) is None


@pytest.mark.parametrize("name", ["..%2Fsecret", "%2E%2E%2Fsecret", "..%5Csecret", "", "..", "%2e%2e", "secret%00"])
def test_a_name_never_leaves_the_mirror(tmp_path: Path, name: str) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (tmp_path / "secret").write_text("secret")
    assert locate(config(f"https://example.org/data/{name}"), mirror) is None


def test_a_file_with_the_declared_hash_may_have_another_name_in_the_mirror(tmp_path: Path) -> None:
    (tmp_path / "within").mkdir()
    (tmp_path / "within/other.tsv").write_bytes(BODY)
    (tmp_path / "within/third.tsv").write_bytes(b"third")
    source = config("https://example.org/sms.tsv", sha256=SHA256)
    assert locate(source, tmp_path) == tmp_path / "within/other.tsv"
    assert locate(config("https://example.org/sms.tsv"), tmp_path) is None


def test_a_wrong_file_in_the_mirror_is_refused(downloads: Path, tmp_path: Path) -> None:
    (tmp_path / "sms.tsv").write_bytes(b"other")
    with pytest.raises(HashMismatch):
        fetch(config("https://example.org/sms.tsv", sha256=SHA256), downloads, tmp_path)
    assert left_behind(downloads) == []


# --- from the disk


@pytest.mark.parametrize("form", ["uri", "bare"])
def test_local_files_are_read_again(downloads: Path, tmp_path: Path, form: str) -> None:
    local = tmp_path / "my data #1.tsv"
    local.write_bytes(BODY)
    source = config(local.as_uri() if form == "uri" else str(local))
    path = fetch(source, downloads, None)
    assert (path.name, path.read_bytes()) == (local.name, BODY)
    local.write_bytes(b"changed")
    assert fetch(source, downloads, None).read_bytes() == b"changed"
    assert path.read_bytes() == BODY


def test_a_bare_relative_path(downloads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_bytes(b"text,label\n")
    monkeypatch.chdir(tmp_path)
    assert fetch(config("a.csv"), downloads, None).read_bytes() == b"text,label\n"


def test_local_problems_are_one_line(downloads: Path, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(BODY)
    cases = {
        tmp_path / "nowhere": "No such file or directory",
        tmp_path: "Is a directory",
        large: "more than 10 bytes",
    }
    for path, message in cases.items():
        with pytest.raises(DownloadError, match=message):
            fetch(config(str(path), max_bytes=10), downloads, None)
    assert left_behind(downloads) == []


def test_downloads_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\n")
    with pytest.raises(DownloadError, match=r"cannot store .*: Not a directory; make room there, or set GRADUS_HOME"):
        fetch(config(str(tmp_path / "a.csv")), tmp_path / "a.csv" / "downloads", None)


def test_the_hash_is_that_of_the_member(downloads: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "sms.zip", "w") as zipped:
        zipped.writestr("data/sms.tsv", BODY)
    local = str(tmp_path / "sms.zip")
    path = fetch(config(local, member="data/sms.tsv", sha256=SHA256), downloads, None)
    assert path == downloads / SHA256 / "sms.tsv"
    with pytest.raises(UnpackError, match=r"sms\.zip holds no 'other'"):
        fetch(config(local, member="other"), downloads, None)
    with pytest.raises(DownloadError, match=r"sms\.zip is.* more than 10 bytes"):
        fetch(config(local, member="data/sms.tsv", max_bytes=10), downloads, None)
    assert left_behind(downloads) == [path]
