"""`hf://owner/name` as a source, against a server that speaks the hub's API."""

import io
import logging
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from components.core.errors import ConfigError, DownloadError, GradusError, TransientError
from components.core.records import Manifest
from components.data.download import source_identity
from components.data.sources import SourceConfig
from components.tasks import download
from tests.data.hub.hub_server import TOKEN, DataSet, Hub

CSV = b"text,label\nhello,ham\nwin a prize,spam\n"
ONE = b"text,label\nwho are you,ham\n"


def parquet(rows: int = 300) -> bytes:
    file = io.BytesIO()
    frame = pd.DataFrame({"text": [f"text {row}" for row in range(rows)], "label": ["ham", "spam"] * (rows // 2)})
    frame.to_parquet(file)
    return file.getvalue()


def config(url: str = "hf://owner/mail", **options: object) -> SourceConfig:
    return SourceConfig.model_validate({"url": url, "backoff": 0.01, "attempts": 2, **options})


def bring(url: str = "hf://owner/mail", **options: object) -> Manifest:
    return download.without_prefect(source=config(url, **options))


def refused(kind: type[GradusError], url: str = "hf://owner/mail", **options: object) -> str:
    with pytest.raises(kind) as caught:
        bring(url, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def rows(manifest: Manifest) -> pd.DataFrame:
    return pd.read_parquet(manifest.path("table.parquet"))


@pytest.mark.ci
def test_its_splits_are_given_splits_and_its_commit_is_recorded(hub: Hub) -> None:
    files = {"README.md": b"about", "data/train-00000.parquet": parquet(), "data/test.parquet": parquet(10)}
    hub.data_sets["owner/mail"] = mail = DataSet({"main": files})
    manifest = bring()
    assert rows(manifest)["split"].value_counts().to_dict() == {"train": 300, "test": 10}
    facts = manifest.facts
    assert (facts["commit"], facts["revision"]) == (mail.commit("main"), "main")
    assert facts["url"] == "hf://owner/mail/data/train-00000.parquet"
    assert facts["reading"]["format"] == "parquet"
    assert facts["files"]["test"]["rows"] == 10
    assert bring().cached


def test_a_new_commit_of_a_branch_is_fetched_and_a_pinned_one_asks_nobody(hub: Hub) -> None:
    hub.data_sets["owner/mail"] = mail = DataSet({"main": {"train.csv": CSV}})
    first = mail.commit("main")
    assert len(rows(bring())) == 2
    pinned = config(hub={"revision": first})
    assert len(rows(download.without_prefect(source=pinned))) == 2
    mail.branches = {"old": mail.branches["main"], "main": {"train.csv": ONE}}
    assert len(rows(bring())) == 1
    hub.requests.clear()
    assert download.without_prefect(source=pinned).cached
    assert hub.requests == []


def test_one_split_is_used_alone_and_all_files_of_it(hub: Hub) -> None:
    files = {"train-0.csv": CSV, "train-1.csv": ONE, "test.csv": CSV, "train.txt": b"not read"}
    hub.data_sets["owner/mail"] = DataSet({"main": files})
    table = rows(bring(hub={"split": "train"}))
    assert "split" not in table
    assert table["text"].tolist() == ["hello", "win a prize", "who are you"]
    assert table["row"].tolist() == [1, 2, 3], "a number is one row's, however many files there are"
    trial = rows(bring(hub={"split": "train"}, limit=1))
    assert trial["row"].tolist() == [1, 3], "as where all are used"
    message = refused(ConfigError, hub={"split": "dev"})
    assert "no split 'dev'" in message
    assert "there are test, train" in message


def test_one_file_of_it_is_a_source_like_any_other(hub: Hub) -> None:
    hub.data_sets["owner/mail"] = DataSet(
        {"main": {"a/mail.csv": CSV, "a/more.jsonl": b'{"text": "x", "label": "y"}\n'}}
    )
    assert len(rows(bring("hf://datasets/owner/mail/a/mail.csv"))) == 2
    assert rows(bring("hf://owner/mail/a/more.jsonl"))["text"].tolist() == ["x"]
    given = bring("hf://owner/mail/a/mail.csv", test="hf://owner/mail/a/more.jsonl")
    assert rows(given)["split"].tolist() == ["train", "train", "test"]
    assert "expected 0000" in refused(DownloadError, "hf://owner/mail/a/mail.csv", sha256="0" * 64)
    assert "did you mean 'a/mail.csv'" in refused(DownloadError, "hf://owner/mail/mail.csv")


@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b" " * 100])
@pytest.mark.parametrize("written", [b'[{"text": "x", "label": "y"}]', b'{"text": "x", "label": "y"}\n'])
def test_a_file_called_json_is_a_list_or_lines_as_it_begins(hub: Hub, before: bytes, written: bytes) -> None:
    hub.data_sets["owner/mail"] = DataSet({"main": {"mail.json": before + written}})
    assert rows(bring("hf://owner/mail/mail.json"))["text"].tolist() == ["x"]


@pytest.mark.ci
def test_a_large_file_goes_by_way_of_a_redirect_and_is_resumed_where_it_broke(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)  # what comes in less is lost: 10 MB by default
    body = parquet(4000)
    hub.data_sets["owner/mail"] = DataSet({"main": {"train.parquet": body}})
    hub.cut = [10_000]
    assert len(rows(bring())) == 4000
    contents = [request for request in hub.requests if request.startswith("GET /lfs/")]
    assert [content.partition("bytes=")[2] for content in contents] == ["", "10000-"]


@pytest.mark.ci
def test_a_hub_that_fails_is_asked_again_and_then_named(hub: Hub) -> None:
    hub.data_sets["owner/mail"] = DataSet({"main": {"train.csv": CSV}})
    hub.failures = [503]
    assert len(rows(bring())) == 2
    hub.failures = [503] * 20
    message = refused(TransientError, hub={"subset": "other"})
    assert "answered 503" in message
    assert "GRADUS_MIRROR" in message


def test_what_may_not_be_read_says_what_to_do(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"main": {"train.csv": CSV}}
    hub.data_sets |= {"owner/gated": DataSet(files, gated=True), "owner/private": DataSet(files, private=True)}
    assert "gated" in (message := refused(DownloadError, "hf://owner/gated"))
    assert "HF_TOKEN" in message
    assert "HF_TOKEN" in refused(DownloadError, "hf://owner/private")
    assert "no data set" in refused(DownloadError, "hf://owner/missing")
    assert "no revision 'v2'" in refused(DownloadError, "hf://owner/gated", hub={"revision": "v2"})
    hub.failures = [403] * 4
    assert "HF_TOKEN" in refused(DownloadError, "hf://owner/other")
    hub.failures.clear()
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert len(rows(bring("hf://owner/gated"))) == len(rows(bring("hf://owner/private"))) == 2


def test_code_of_a_data_set_is_never_run_but_the_hubs_copy_is_read(hub: Hub) -> None:
    script = {"mail.py": b"raise SystemExit('ran')", "raw.csv": CSV}
    hub.data_sets["owner/mail"] = mail = DataSet({"main": script})
    message = refused(DownloadError)
    assert "mail.py" in message
    assert "hf://owner/mail/FILE" in message
    mail.branches["refs/convert/parquet"] = {
        "default/train/0000.parquet": parquet(6),
        "default/test/0000.parquet": parquet(4),
    }
    manifest = bring()
    assert rows(manifest)["split"].value_counts().to_dict() == {"train": 6, "test": 4}
    assert manifest.facts["commit"] == mail.commit("refs/convert/parquet")


def test_without_the_hub_what_it_said_last_is_used(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from huggingface_hub import constants

    hub.data_sets["owner/mail"] = DataSet({"main": {"train.csv": CSV}})
    first = bring()
    hub.failures = [503] * 20
    with caplog.at_level(logging.WARNING):
        assert bring().facts == first.facts
    assert "which is used" in caplog.text
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert bring().cached
    assert "HF_HUB_OFFLINE" in refused(TransientError, "hf://owner/other")


def test_a_folder_of_the_mirror_stands_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "mirror/owner/mail"
    folder.mkdir(parents=True)
    card = "---\nconfigs:\n- config_name: all\n  data_files: {train: a.csv, validation: b.csv}\n---\n"
    for name, content in {"a.csv": CSV, "b.csv": ONE, "README.md": card.encode()}.items():
        (folder / name).write_bytes(content)
    monkeypatch.setenv("GRADUS_MIRROR", str(tmp_path / "mirror"))
    assert rows(bring())["split"].tolist() == ["train", "train", "validation"]
    before = source_identity(config(), tmp_path / "mirror")
    (folder / "a.csv").write_bytes(ONE)
    assert source_identity(config(), tmp_path / "mirror") != before


@pytest.mark.ci
def test_a_listing_names_no_place_outside_the_store(hub: Hub) -> None:
    hub.data_sets["owner/mail"] = DataSet({"main": {"../../train.csv": ONE, "train.csv": CSV}})
    assert len(rows(bring())) == 2


def test_larger_files_than_allowed_are_not_fetched(hub: Hub) -> None:
    hub.data_sets["owner/mail"] = DataSet({"main": {"train.parquet": parquet()}})
    assert "max_bytes" in refused(DownloadError, max_bytes=1000)
    assert not any("/resolve/" in request for request in hub.requests)


@pytest.mark.ci
def test_the_librarys_own_variables_are_respected(hub: Hub, tmp_path: Path) -> None:
    hub.data_sets["owner/mail"] = DataSet({"main": {"train.csv": CSV}}, private=True)
    code = (
        "from pathlib import Path; from components.data.download import download;"
        "from components.data.sources import SourceConfig;"
        "print(download(SourceConfig(url='hf://owner/mail'), Path('d'), None, Path('.'))['rows'])"
    )
    variables = {
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": TOKEN,
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(tmp_path / "hf"),
        "PYTHONPATH": str(Path.cwd()),
    }
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout == "2\n", ran.stderr
    assert list((tmp_path / "hf/hub").glob("datasets--owner--mail/snapshots/*/train.csv"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": "hf://mail"}, "hf://OWNER/NAME"),
        ({"url": "hf://owner/mail?split=train"}, "source.hub"),
        ({"url": "hf://owner/mail/../x"}, "hf://OWNER/NAME"),
        ({"url": "mail.csv", "hub": {"split": "train"}}, "leave it out"),
        ({"url": "hf://owner/mail", "sha256": "0" * 64}, "hf://owner/mail/FILE"),
        ({"url": "hf://owner/mail", "test": "test.csv"}, "hf://owner/mail/FILE"),
        ({"url": "hf://owner/mail/a.csv", "hub": {"split": "train"}}, "one file"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_fetched(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SourceConfig.model_validate(options)
