"""A home that is copied or moved works in itself, and leaves the old one alone."""

import logging
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from components.core.records import sha256_of
from components.tracking.config import TrackingConfig
from components.tracking.names import OUTBOX_TAG
from components.tracking.registry.finding import download_model_folder, resolve_model
from components.tracking.registry.packages import classifier_package
from components.tracking.registry.publishing import log_package
from components.tracking.relocation import MARKER
from components.tracking.runs import open_run
from components.tracking.stores import open_client

QUIET = TrackingConfig(system_metrics=False)
TEXTS = ["see you at 5"]


def use(home: Path, saved_model: Path) -> str:
    """Log a run with a file and a model."""
    with open_run(QUIET, home, "spam-demo", {}) as run:
        run.client.log_text(run.run_id, "said", "note.txt")
        log_package(run, classifier_package(saved_model, TEXTS), "spam")
    return run.run_id


def content(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256_of(path) for path in folder.rglob("*") if path.is_file()}


def paths(home: Path) -> list[str]:
    with closing(sqlite3.connect(home / "mlflow.db")) as database:
        return [line for line in database.iterdump() if str(home.parent) in line]


@pytest.fixture
def old(tmp_path: Path, saved_model: Path) -> Path:
    use(tmp_path / "old", saved_model)
    return tmp_path / "old"


@pytest.mark.slow
def test_a_copy_works_in_itself_and_leaves_the_old_home_alone(
    old: Path, saved_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = content(old)
    copy = shutil.copytree(old, tmp_path / "copy")
    with caplog.at_level(logging.WARNING, "components.tracking"):
        client = open_client(copy)
    said = [record.getMessage() for record in caplog.records if "copied or moved" in record.getMessage()]
    assert len(said) == 1
    assert str(old) in said[0]
    for address in ("models:/spam/1", "models:/spam@candidate"):
        assert Path(resolve_model(address, copy)).is_relative_to(copy)
    version = client.get_model_version("spam", "1")
    assert (client.get_model_version_download_uri("spam", "1"), version.source) == (str(version.source),) * 2
    assert str(version.source).startswith(str(copy))
    download_model_folder("models:/spam/1", copy, tmp_path / "fetched")
    run_id = use(copy, saved_model)
    assert (copy / "artifacts" / run_id / "artifacts" / "note.txt").is_file()
    assert Path(resolve_model("models:/spam/2", copy)).is_relative_to(copy)
    assert content(old) == before
    assert not [line for line in paths(copy) if str(old) in line]
    caplog.clear()
    open_client(copy)
    open_client(old)
    assert not caplog.records
    assert content(old) == before


@pytest.mark.ci
def test_a_home_that_moved_and_one_in_its_place(old: Path, saved_model: Path, tmp_path: Path) -> None:
    use(tmp_path / "other", saved_model)
    moved = old.rename(tmp_path / "moved")
    (tmp_path / "other").rename(old)  # another home where the first was
    before = content(old)
    assert Path(resolve_model("models:/spam/1", moved)).is_relative_to(moved)
    use(moved, saved_model)
    assert content(old) == before
    assert not [line for line in paths(moved) if str(old) in line]


@pytest.mark.slow
def test_a_link_to_a_home_is_the_same_home(
    old: Path, saved_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "link").symlink_to(old)
    use(tmp_path / "link", saved_model)
    assert not [record for record in caplog.records if "copied or moved" in record.getMessage()]
    assert Path(resolve_model("models:/spam/1", old)).is_relative_to(old)


def test_what_is_not_of_the_old_home_and_what_only_it_has_stays(old: Path, tmp_path: Path) -> None:
    elsewhere = str(tmp_path / "elsewhere" / "artifacts")
    client = open_client(old)
    other = client.create_experiment("by hand", elsewhere)
    waiting = client.create_run(other, tags={OUTBOX_TAG: str(old / "outbox" / "1")}).info.run_id
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("mlflow.db", MARKER):  # without the files
        shutil.copyfile(old / name, copy / name)
    client = open_client(copy)
    assert client.get_run(waiting).data.tags[OUTBOX_TAG] == str(copy / "outbox" / "1")
    assert client.get_experiment(other).artifact_location == elsewhere
    (ours,) = (each for each in client.search_experiments() if each.name not in ("Default", "by hand"))
    assert str(ours.artifact_location) == str(copy / "artifacts"), "new runs write into the copy"
    assert Path(resolve_model("models:/spam/1", copy)).is_relative_to(old), "the only place where it is"
