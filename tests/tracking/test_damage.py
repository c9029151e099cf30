"""A local MLflow database that is damaged, in whatever way, is one line that says what to do."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from components.core.errors import TrackingError
from components.tracking.damage import damage_of
from components.tracking.stores import DATABASE, connect
from tests.pipelines.commands import gradus

pytestmark = pytest.mark.usefixtures("copied_databases")


def garbage(path: Path) -> None:
    path.write_bytes(b"no database at all" * 1000)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100_000])


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for place in range(4096, len(content), 997):
        content[place] ^= 255
    path.write_bytes(content)


def half_made(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE experiments (experiment_id INTEGER PRIMARY KEY, name TEXT)")


HARMS = [garbage, cut, flipped, half_made]


def database(made: Path, home: Path) -> Path:
    """Return a home's database, which this process has not opened: MLflow keeps open what it has."""
    connect(made, "gradus")
    home.mkdir()
    return Path(shutil.copyfile(made / DATABASE, home / DATABASE))


@pytest.mark.one_case
@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_database_is_named_with_what_to_do(
    harm: Callable[[Path], None], isolated: Path, tmp_path: Path
) -> None:
    path = database(tmp_path / "made", isolated)
    harm(path)
    with pytest.raises(TrackingError) as caught:
        connect(isolated, "gradus")
    line = str(caught.value)
    assert f"{path} is damaged (" in line
    assert "put a copy of it back, or move it away and run again" in line
    assert "\n" not in line
    assert "SELECT" not in line
    done = gradus("runs")
    assert done.returncode == 1
    assert done.stderr.startswith("gradus: ")
    assert done.stderr.count(f"{path} is damaged (") == 1


def test_one_that_is_whole_or_locked_is_not_blamed(isolated: Path, tmp_path: Path) -> None:
    path = database(tmp_path / "made", isolated)
    assert damage_of(path, sqlite3.OperationalError("x")) is None
    assert damage_of(isolated / "none.db", sqlite3.OperationalError("x")) is None
    another = isolated / "another.db"
    garbage(another)
    assert damage_of(another, ValueError("x")) is None, "it has not come of a database"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert damage_of(path, sqlite3.OperationalError("x")) is None
