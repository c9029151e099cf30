"""The store: complete or not there, checked before it is believed."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest

from components.core.errors import DataRejected, GradusError, TrainingError
from components.core.records import Facts, Manifest
from components.core.redaction import remember_secrets
from components.core.store import MANIFEST, Store


def write_two(out: Path) -> dict[str, int]:
    (out / "notes.txt").write_text("hello")
    (out / "sub").mkdir()
    pd.DataFrame({"x": [1, 2, 3]}).to_parquet(out / "sub/table.parquet")
    return {"x": 3}


def test_a_manifest_says_what_is_there(tmp_path: Path) -> None:
    manifest = Store(tmp_path).produce("demo", "k1", write_two)
    assert manifest.files.keys() == {"notes.txt", "sub/table.parquet"}
    assert manifest.files["sub/table.parquet"].rows == 3
    assert manifest.files["notes.txt"].bytes == 5
    assert manifest.path("notes.txt").read_text() == "hello"
    assert Store(tmp_path).find("demo", "k1") == manifest


def test_labels_columns_and_names_of_facts_are_as_they_were_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_PASSWORD", "password")
    remember_secrets("https://host/news.csv?section=business&token=planted-1")
    facts = {
        "labels": ["business", "password_reset"],
        "class_counts": {"business": 2, "password_reset": 3},
        "reading": {"columns": {"text": "password"}},
    }
    told = {"url": "https://host/news.csv?section=business&token=planted-1", "notes": ["planted-1 is refused"]}
    manifest = Store(tmp_path).produce("demo", "k", lambda _: facts | told)
    assert manifest.facts == facts | {"url": "https://host/news.csv?section=***&token=***", "notes": ["*** is refused"]}


def test_the_second_call_does_no_work(tmp_path: Path) -> None:
    calls = []

    def write(out: Path) -> dict[str, int]:
        calls.append(out)
        return {}

    assert Store(tmp_path).produce("demo", "k", write) == Store(tmp_path).produce("demo", "k", write)
    assert len(calls) == 1


@pytest.mark.parametrize("harm", ["delete", "flip", "append", "manifest"])
def test_what_was_harmed_is_written_again(tmp_path: Path, harm: str) -> None:
    store = Store(tmp_path)
    manifest = store.produce("demo", "k", write_two)
    path = manifest.path("notes.txt")
    match harm:
        case "delete":
            path.unlink()
        case "flip":
            path.write_text("hellp")
        case "append":
            path.write_text("hello!")
        case "manifest":
            (manifest.folder / MANIFEST).unlink()
    assert store.find("demo", "k") is None
    assert store.produce("demo", "k", write_two).damage() is None
    assert path.read_text() == "hello"


def test_a_torn_manifest_is_not_a_result(tmp_path: Path) -> None:
    store = Store(tmp_path)
    manifest = store.produce("demo", "k", write_two)
    (manifest.folder / MANIFEST).write_text('{"step": "de')
    assert store.find("demo", "k") is None
    assert store.produce("demo", "k", write_two).damage() is None


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    def write(out: Path) -> dict[str, int]:
        (out / "half").write_text("...")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        Store(tmp_path).produce("demo", "k", write)
    assert [path.name for path in (tmp_path / "demo").iterdir()] == [".k.lock"]


@pytest.mark.parametrize(
    ("raised", "suffix"),
    [(DataRejected, "rejected"), (TrainingError, "failed"), (KeyboardInterrupt, "interrupted")],
)
def test_what_is_worth_keeping_of_a_step_that_fails_is_kept(
    tmp_path: Path, raised: type[BaseException], suffix: str
) -> None:
    def write(out: Path) -> dict[str, int]:
        (out / "seen.txt").write_text("row 3")
        error = raised("row 3 is blank")
        error.evidence = out  # type: ignore[attr-defined]
        raise error

    for _ in range(2):
        with pytest.raises(raised) as caught:
            Store(tmp_path).produce("demo", "k", write)
    assert caught.value.evidence == tmp_path / f"demo/k.{suffix}"  # type: ignore[attr-defined]
    assert (tmp_path / f"demo/k.{suffix}/seen.txt").read_text() == "row 3"
    assert Store(tmp_path).find("demo", "k") is None


@pytest.mark.ci
def test_what_a_killed_process_had_done_is_gone_on_from_and_swept(tmp_path: Path) -> None:
    killed = """
import os, signal, sys
from pathlib import Path
from components.core.store import Store

def write(out):
    (out / "checkpoint").mkdir(exist_ok=True)
    with (out / "checkpoint/done").open("a") as file:
        file.write("x")
    os.kill(os.getpid(), signal.SIGKILL)

Store(Path(sys.argv[1])).produce("step", "key", write)
"""
    for _ in range(2):
        assert subprocess.run([sys.executable, "-c", killed, str(tmp_path)]).returncode == -signal.SIGKILL

    def write(out: Path) -> Facts:
        (out / "done").write_text((out / "checkpoint/done").read_text() + "x")
        shutil.rmtree(out / "checkpoint")
        return {}

    manifest = Store(tmp_path).produce("step", "key", write)
    assert manifest.path("done").read_text() == "xxx"
    assert [path.name for path in (tmp_path / "step").iterdir() if path.is_dir()] == ["key"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_store_that_cannot_be_written_says_so_as_a_user(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(GradusError, match="set GRADUS_HOME"):
        Store(tmp_path / "store").produce("demo", "k", write_two)


def test_a_store_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file where the folder should be")
    with pytest.raises(GradusError, match="set GRADUS_HOME to a folder you can write"):
        Store(tmp_path / "store").produce("demo", "k", write_two)


def _slow_write(out: Path) -> dict[str, int]:
    import time

    time.sleep(0.3)
    (out / f"by-{os.getpid()}").write_text("")
    return {}


def _produce(root: Path) -> list[str]:
    return sorted(Store(root).produce("demo", "k", _slow_write).files)


@pytest.mark.ci
def test_two_processes_do_the_work_once(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        first, second = pool.map(_produce, [tmp_path, tmp_path])
    assert first == second
    assert len(first) == 1


def test_who_comes_second_says_that_it_waits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    begun = threading.Event()

    def write_when_another_waits(out: Path) -> Facts:
        begun.set()
        while "demo: waiting for another run" not in caplog.text:
            time.sleep(0.01)
        return write_two(out)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(Store(tmp_path).produce, "demo", "k", write_when_another_waits)
        begun.wait()
        second = pool.submit(Store(tmp_path).produce, "demo", "k", write_two)
        assert first.result() == second.result()


def test_the_digest_depends_on_contents_and_facts_only(tmp_path: Path) -> None:
    one, two = (Store(tmp_path / name).produce("demo", name, write_two) for name in "ab")
    assert one.digest == two.digest
    other = Manifest(step="demo", key="k", folder=tmp_path, files=one.files, facts={"x": 4})
    assert other.digest != one.digest


@pytest.mark.parametrize("harm", [('"x":3', '"x":4'), ('"rows":3', '"rows":4'), ('"step":"demo"', '"step":"other"')])
def test_a_manifest_that_says_something_else_than_was_written_is_no_hit(tmp_path: Path, harm: tuple[str, str]) -> None:
    def write(out: Path) -> Facts:
        return {**write_two(out), "loss": float("nan"), "names": ("a", "b"), "share": 0.1}

    store = Store(tmp_path)
    path = store.produce("demo", "k", write).folder / MANIFEST
    assert store.find("demo", "k")
    text = path.read_text().replace(": ", ":")
    path.write_text(text)
    assert store.find("demo", "k"), "only what it says counts"
    assert harm[0] in text
    path.write_text(text.replace(*harm))
    assert store.find("demo", "k") is None
    assert store.produce("demo", "k", write).facts["x"] == 3
