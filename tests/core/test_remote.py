"""A remote store: what one machine has made or begun, another takes, whole and as it was, or not at all."""

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.core.errors import ConfigError, NoRoom
from components.core.records import Facts
from components.core.sharing import remote as module
from components.core.sharing import sending
from components.core.sharing.remote import Remote, StoreConfig, remote, stored_at
from components.core.store import CHECKPOINT, Store
from tests.patience import eventually
from tests.ports import free_port

KEY = "0" * 32


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """A bucket of a server that speaks S3, on this machine."""
    import boto3  # type: ignore[import-untyped]
    from moto.server import ThreadedMotoServer

    with pytest.MonkeyPatch.context() as patch:
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=(port := free_port()), verbose=False)
        server.start()
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing-secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        boto3.client("s3").create_bucket(Bucket="gradus")
        yield "s3://gradus"
        server.stop()


@pytest.fixture(params=["a folder", "a bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Remote:
    if request.param == "a folder":
        return Remote(str(tmp_path / "shared"))
    return Remote(f"{request.getfixturevalue('bucket')}/{request.node.name.partition('[')[0]}")


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "INTERVAL", 0.05)


def write(out: Path) -> Facts:
    (out / "model").mkdir()
    (out / "model/weights").write_bytes(bytes(range(256)) * 40_000)
    (out / "empty").touch()
    return {"rows": 3}


def never(out: Path) -> Facts:
    raise AssertionError("it was to be taken")


def machine(tmp_path: Path, name: str, place: Remote) -> Store:
    return Store(tmp_path / name, place)


@pytest.mark.ci
def test_what_one_machine_has_made_another_takes(place: Remote, tmp_path: Path) -> None:
    first, second = (machine(tmp_path, name, place) for name in "ab")
    made = first.produce("split", KEY, write)
    first.share(made)
    taken = second.produce("split", KEY, never)
    assert taken.digest == made.digest
    assert taken.folder == tmp_path / "b/split" / KEY
    assert taken.damage() is None
    assert second.find("split", KEY) == taken
    assert sorted(path.name for path in (tmp_path / "b/split").iterdir() if path.is_dir()) == [KEY]


def test_it_says_nothing_of_where_it_was_made(tmp_path: Path) -> None:
    place = Remote(str(tmp_path / "shared"))
    store = machine(tmp_path, "a", place)
    store.share(store.produce("split", KEY, write))
    told = (tmp_path / "shared/split" / f"{KEY}.json").read_text()
    assert str(tmp_path) not in told


@pytest.mark.parametrize("harm", ["changed", "gone", "short", "no manifest", "another manifest", "of another step"])
def test_what_was_changed_on_its_way_is_not_taken(harm: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shared = tmp_path / "shared"
    store = machine(tmp_path, "a", Remote(str(shared)))
    made = store.produce("split", KEY, write)
    store.share(made)
    told = shared / "split" / f"{KEY}.json"
    digest = made.files["model/weights"].sha256
    weights = shared / "files" / digest[:2] / digest
    if harm == "changed":
        weights.write_bytes(b"x" + weights.read_bytes()[1:])
    elif harm == "gone":
        weights.unlink()
    elif harm == "short":
        weights.write_bytes(weights.read_bytes()[:-1])
    elif harm == "no manifest":
        told.write_text(told.read_text()[:-20])
    elif harm == "of another step":
        told.write_text(made.model_copy(update={"step": "validate"}).sealed().model_dump_json())
    else:
        told.write_text(told.read_text().replace('"rows":3', '"rows":4'))
    other = machine(tmp_path, "b", Remote(str(shared)))
    with caplog.at_level(logging.WARNING):
        again = other.produce("split", KEY, write)
    assert again.digest == made.digest
    assert "not taken" in caplog.text
    other.share(again)  # and what was wrong there is right again
    assert machine(tmp_path, "c", Remote(str(shared))).produce("split", KEY, never).digest == made.digest


def test_no_file_leaves_its_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shared = tmp_path / "shared"
    store = machine(tmp_path, "a", Remote(str(shared)))
    made = store.produce("split", KEY, write)
    store.share(made)
    for name in ("../outside", "/outside", "model/../../outside"):
        told = made.model_copy(update={"files": {name: made.files["model/weights"]}}).sealed()
        (shared / "split" / f"{KEY}.json").write_text(told.model_dump_json())
        other = machine(tmp_path, "b", Remote(str(shared)))
        other.produce("split", KEY, write)
        shutil.rmtree(tmp_path / "b")
        assert "outside of its folder" in caplog.text
    assert not list(tmp_path.rglob("outside"))


def test_equal_files_are_sent_once(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    store = machine(tmp_path, "a", Remote(str(shared)))
    for key in (KEY, "1" * 32):
        store.share(store.produce("split", key, write))
    assert len([path for path in (shared / "files").rglob("*") if path.is_file()]) == 2


@pytest.mark.one_case
def test_a_checkpoint_is_sent_and_another_machine_goes_on_from_it(place: Remote, tmp_path: Path) -> None:
    class HostLost(BaseException):
        pass

    def begun(out: Path) -> Facts:
        (out / CHECKPOINT / "3.part").mkdir(parents=True)
        (out / CHECKPOINT / "3.part/state").write_bytes(b"half")
        (out / CHECKPOINT / "2").mkdir()
        (out / CHECKPOINT / "2/state").write_bytes(b"two" * 1000)
        fresh = Remote(place.address)
        eventually(lambda: fresh.fetch_checkpoint("fine_tune", KEY, folder(tmp_path)))
        (out / CHECKPOINT / "4").mkdir()
        (out / CHECKPOINT / "4/state").write_bytes(b"four" * 1000)
        shutil.rmtree(out / CHECKPOINT / "2")
        eventually(lambda: fresh.fetch_checkpoint("fine_tune", KEY, at := folder(tmp_path)) and (at / "4").is_dir())
        raise HostLost

    with pytest.raises(HostLost):
        machine(tmp_path, "a", place).produce("fine_tune", KEY, begun)

    def go_on(out: Path) -> Facts:
        assert [each.name for each in (out / CHECKPOINT).iterdir()] == ["4"]
        assert (out / CHECKPOINT / "4/state").read_bytes() == b"four" * 1000
        return write(out)

    fresh = Remote(place.address)
    other = machine(tmp_path, "b", fresh)
    done = other.produce("fine_tune", KEY, go_on)
    assert fresh.fetch_checkpoint("fine_tune", KEY, folder(tmp_path)), "nobody else has the result yet"
    other.share(done)
    assert sorted(done.files) == ["empty", "model/weights"]
    assert not fresh.fetch_checkpoint("fine_tune", KEY, folder(tmp_path))


def folder(tmp_path: Path) -> Path:
    made = tmp_path / "looking"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    return made


@pytest.mark.ci
def test_once_it_is_done_no_checkpoint_is_left(place: Remote, tmp_path: Path) -> None:
    def work(out: Path) -> Facts:
        (out / CHECKPOINT / "2").mkdir(parents=True)
        (out / CHECKPOINT / "2/state").write_bytes(b"two")
        eventually(lambda: Remote(place.address).fetch_checkpoint("fine_tune", KEY, folder(tmp_path)))
        return write(out)

    store = machine(tmp_path, "a", place)
    store.share(store.produce("fine_tune", KEY, work))
    assert not place.fetch_checkpoint("fine_tune", KEY, folder(tmp_path))
    assert [path.name for path in (tmp_path / "a/fine_tune").iterdir() if path.is_dir()] == [KEY]


def test_a_result_that_did_not_arrive_is_sent_with_a_later_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = tmp_path / "shared"
    store = machine(tmp_path, "a", Remote(str(shared)))
    monkeypatch.setattr(module, "PAUSE", 0.0)
    shared.write_text("a file, and no folder")
    first = store.produce("split", KEY, write)
    store.share(first)
    shared.unlink()
    store.share(store.produce("evaluate", KEY, lambda _: {}))
    assert machine(tmp_path, "b", Remote(str(shared))).produce("split", KEY, never).digest == first.digest


def fill(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the disk no room for anything that the tests write."""
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=5000))


def test_where_a_result_has_no_room_it_is_not_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    place = Remote(str(tmp_path / "shared"))
    first, second = (machine(tmp_path, name, place) for name in "ab")
    first.share(first.produce("fine_tune", KEY, write))
    fill(monkeypatch)
    with pytest.raises(NoRoom, match=f"no room left in {tmp_path}/b/fine_tune, needs about 10.2 MB"):
        second.produce("fine_tune", KEY, never)
    assert not caplog.records


def test_where_a_checkpoint_has_no_room_the_work_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Remote(str(tmp_path / "shared"))
    (tmp_path / "sent/2").mkdir(parents=True)
    (tmp_path / "sent/2/state").write_bytes(bytes(10_000))
    place.send_checkpoint("fine_tune", KEY, tmp_path / "sent", {"2/state": 10_000})
    fill(monkeypatch)
    seen = []

    def work(out: Path) -> Facts:
        seen.append((out / CHECKPOINT).exists())
        return {}

    machine(tmp_path, "a", place).produce("fine_tune", KEY, work)
    assert seen == [False]


def test_one_that_is_away_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "shared").write_text("a file, and no folder")
    store = machine(tmp_path, "a", Remote(str(tmp_path / "shared")))
    made = store.produce("split", KEY, write)
    store.share(made)
    assert made.damage() is None
    assert len(caplog.records) == 1
    assert "going on without" in caplog.text


@pytest.mark.ci
def test_no_server_is_waited_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing-secret",
    }.items():
        monkeypatch.setenv(name, value)
    store = machine(tmp_path, "a", Remote("s3://gradus/away"))
    made = store.produce("split", KEY, write)
    store.share(made)
    assert made.damage() is None


@pytest.mark.parametrize("address", ["nowhere://bucket", "s4://bucket/x"])
def test_no_such_kind_of_place_is_a_line(address: str) -> None:
    with pytest.raises(ConfigError, match=r"store\.remote"):
        Remote(address)


def test_a_run_has_the_one_of_its_config_or_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert StoreConfig().remote is None
    monkeypatch.setenv("GRADUS_STORE_REMOTE", str(tmp_path))
    assert StoreConfig().remote == str(tmp_path)
    assert StoreConfig(remote=None).remote is None
    assert remote() is None
    with stored_at(str(tmp_path)):
        assert (found := remote())
        assert found.address == str(tmp_path)
    assert remote() is None
