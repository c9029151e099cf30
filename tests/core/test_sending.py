"""Checkpoints are sent whole or not at all, and nothing that goes wrong with it ends the work or the sending."""

import errno
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from components.core.records import Facts
from components.core.sharing import remote, sending
from components.core.sharing.remote import Remote
from components.core.store import CHECKPOINT, Store
from tests.patience import eventually

KEY = "0" * 32


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "INTERVAL", 0.05)
    for module in (sending, remote):
        monkeypatch.setattr(module, "PAUSE", 0.1)


@pytest.fixture
def place(tmp_path: Path) -> Remote:
    return Remote(str(tmp_path / "shared"))


def write_checkpoint(out: Path, step: int) -> None:
    part = out / CHECKPOINT / f"{step}.part"
    part.mkdir(parents=True)
    for name in ("state", "history"):
        (part / name).write_text(f"{name} of {step}")
    part.rename(part.with_suffix(""))


def arrived(place: Remote, tmp_path: Path) -> dict[str, str]:
    """Return the files of the checkpoint that another machine would go on from, with what they say."""
    folder = tmp_path / "looking"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    Remote(place.address).fetch_checkpoint("fine_tune", KEY, folder)
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def no_link(source: Path, target: Path) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


def stopped_at(step: int, begun: list[set[str]], place: Remote, tmp_path: Path) -> Callable[[Path], Facts]:
    """Return work that notes which checkpoints it begins with, leaves one that arrives, and is stopped."""

    def work(out: Path) -> Facts:
        begun.append({each.name for each in (out / CHECKPOINT).glob("*")})
        for each in begun[-1]:
            shutil.rmtree(out / CHECKPOINT / each)
        write_checkpoint(out, step)
        eventually(lambda: f"{step}/state" in arrived(place, tmp_path))
        raise KeyboardInterrupt

    return work


def test_an_older_checkpoint_of_its_own_does_not_hide_a_newer_one_of_another_machine(
    place: Remote, tmp_path: Path
) -> None:
    begun: list[set[str]] = []
    for name, step in (("a", 100), ("b", 500), ("a", 600)):
        work = stopped_at(step, begun, place, tmp_path)
        with pytest.raises(KeyboardInterrupt):
            Store(tmp_path / name, Remote(place.address)).produce("fine_tune", KEY, work)
    assert begun == [set(), {"100"}, {"100", "500"}]
    lie_in = Path(place.address) / "fine_tune" / f"{KEY}.checkpoint"
    eventually(lambda: len(list(lie_in.iterdir())) == 1)


@pytest.mark.parametrize(("here", "there"), [(10, 30), (30, 10)])
def test_the_longer_journal_is_gone_on_with(here: int, there: int, place: Remote, tmp_path: Path) -> None:
    def stopped(out: Path) -> Facts:
        (out / CHECKPOINT).mkdir()
        (out / CHECKPOINT / "answers.jsonl").write_text("answer\n" * here)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path / "a").produce("fine_tune", KEY, stopped)
    (tmp_path / "answers.jsonl").write_text("answer\n" * there)
    Remote(place.address).send_checkpoint("fine_tune", KEY, tmp_path, {"answers.jsonl": 7 * there})

    def go_on(out: Path) -> Facts:
        return {"answers": len((out / CHECKPOINT / "answers.jsonl").read_text().splitlines())}

    assert Store(tmp_path / "a", place).produce("fine_tune", KEY, go_on).facts == {"answers": 30}


def test_one_of_another_machine_is_replaced_by_no_earlier_one(place: Remote, tmp_path: Path) -> None:
    one, other = Remote(place.address), Remote(place.address)
    for step in (100, 500, 600):
        write_checkpoint(tmp_path, step)

    def send(from_where: Remote, step: int) -> set[str]:
        files = {f"{step}/{name}": len(f"{name} of {step}") for name in ("state", "history")}
        assert from_where.send_checkpoint("fine_tune", KEY, tmp_path / CHECKPOINT, files)
        return {name.partition("/")[0] for name in arrived(place, tmp_path)}

    assert send(other, 500) == {"500"}
    assert send(one, 100) == {"500"}
    assert not one.fetch_checkpoint("fine_tune", KEY, tmp_path, {"500/state": 1}), "it is no further than that"
    assert send(one, 600) == {"600"}
    assert send(one, 100) == {"100"}, "it has sent that itself, and has found no use for it"


def test_where_files_cannot_be_linked_they_are_copied(
    place: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", no_link)

    def work(out: Path) -> Facts:
        write_checkpoint(out, 2)
        whole = {"2/state": "state of 2", "2/history": "history of 2"}
        eventually(lambda: arrived(place, tmp_path) == whole)
        return {}

    Store(tmp_path / "a", place).produce("fine_tune", KEY, work)


def test_one_that_did_not_arrive_is_sent_again(place: Remote, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def work(out: Path) -> Facts:
        shared = Path(place.address)
        shared.write_text("a file, and no folder")
        write_checkpoint(out, 2)
        eventually(lambda: "going on without" in caplog.text)
        shared.unlink()
        eventually(lambda: arrived(place, tmp_path))
        return {}

    Store(tmp_path / "a", place).produce("fine_tune", KEY, work)


def test_the_checkpoint_stays_until_the_result_has_arrived(place: Remote, tmp_path: Path) -> None:
    def work(out: Path) -> Facts:
        write_checkpoint(out, 2)
        eventually(lambda: arrived(place, tmp_path))
        (out / "model").write_text("weights")
        return {}

    store = Store(tmp_path / "a", place)
    made = store.produce("fine_tune", KEY, work)
    in_the_way = Path(place.address) / "files"
    in_the_way.write_text("a file, and no folder")
    store.share(made)
    assert arrived(place, tmp_path)
    in_the_way.unlink()

    def gone() -> bool:
        store.share(made)
        return not arrived(place, tmp_path)

    eventually(gone)


def test_a_file_that_grows_while_it_is_sent_is_whole(place: Remote, tmp_path: Path) -> None:
    def work(out: Path) -> Facts:
        (out / CHECKPOINT).mkdir()
        with (out / CHECKPOINT / "answers.jsonl").open("ab") as file:
            while not arrived(place, tmp_path):
                file.write(b"answer\n" * 1000)
                file.flush()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path / "a", place).produce("fine_tune", KEY, work)
    assert set((tmp_path / "looking/answers.jsonl").read_text().split("\n")) == {"answer", ""}


def test_where_they_cannot_be_copied_either_it_is_said_once(
    place: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried = []

    def no_copy(source: Path, target: Path) -> None:
        tried.append(source)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "link", no_link)
    monkeypatch.setattr(shutil, "copyfile", no_copy)

    def work(out: Path) -> Facts:
        write_checkpoint(out, 2)
        eventually(lambda: len(tried) > 2)
        return {}

    with caplog.at_level(logging.WARNING):
        Store(tmp_path / "a", place).produce("fine_tune", KEY, work)
    assert ["No space left" in record.getMessage() for record in caplog.records] == [True]
    assert [path.name for path in (tmp_path / "a/fine_tune").iterdir() if path.is_dir()] == [KEY]


@pytest.mark.parametrize(("call", "times"), [("scandir", 1), ("link", 2)])
def test_a_checkpoint_that_is_deleted_while_it_is_looked_at_is_not_sent_in_part(
    call: str, times: int, place: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = getattr(os, call)
    sent: list[set[str]] = []
    seen: list[Path] = []

    def work(out: Path) -> Facts:
        def replaced_meanwhile(path: Path, *more: Path) -> object:
            if str(path).startswith(str(out / CHECKPOINT / "2")):
                seen.append(path)
                if len(seen) == times:
                    monkeypatch.setattr(os, call, system)
                    write_checkpoint(out, 4)
                    shutil.rmtree(out / CHECKPOINT / "2")
            return system(path, *more)

        monkeypatch.setattr(os, call, replaced_meanwhile)
        write_checkpoint(out, 2)
        eventually(lambda: sent)
        return {}

    monkeypatch.setattr(place, "send_checkpoint", lambda *what: sent.append(set(what[-1])))
    Store(tmp_path / "a", place).produce("fine_tune", KEY, work)
    assert sent[0] == {"4/state", "4/history"}
