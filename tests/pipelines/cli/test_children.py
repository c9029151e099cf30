"""What Gradus starts ends with it, however it ends, and holds nothing of it open."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from components.tracking.stores import open_client
from tests.patience import PATIENCE

PARENT = """
import signal, sys, time
from pipelines.child_process import start_child
child = start_child("-c", sys.argv[1])
print(child.pid, flush=True)
signal.pause()
"""
OBEDIENT = """
from pipelines.child_process import end_with_parent
end_with_parent()
import time
while True: time.sleep(60)
"""
DEAF = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
import pipelines.child_process as children
children.GRACE = 0.5
children.end_with_parent()
while True: signal.pause()
"""
KILLED_MAKER = """
import os
from sqlalchemy import Engine, event
from components.core.home import home
from components.tracking.stores import open_client

@event.listens_for(Engine, "before_cursor_execute")
def kill(connection, cursor, statement, *_):
    if statement.lstrip().startswith("ALTER TABLE"):  # as migrations do, when the first tables are there
        os.kill(os.getpid(), 9)

open_client(home())
"""


def started(code: str, *arguments: str, **environment: str) -> tuple["subprocess.Popen[str]", psutil.Process]:
    """Start a parent, and return it and the child whose number it prints."""
    parent = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], env=os.environ | environment, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout
    return parent, psutil.Process(int(parent.stdout.readline()))


@pytest.mark.ci
@pytest.mark.parametrize("child_code", [OBEDIENT, DEAF], ids=["obedient", "deaf to SIGTERM"])
def test_a_child_ends_with_a_parent_that_is_killed(child_code: str) -> None:
    parent, child = started(PARENT, child_code)
    parent.send_signal(signal.SIGKILL)
    # Who reads the parent's output hears of its end at once: the child does not hold it open.
    assert parent.communicate(timeout=PATIENCE) == ("", None)
    child.wait(timeout=PATIENCE)


@pytest.mark.ci
def test_a_database_that_is_being_made_is_not_left_half_made(tmp_path: Path) -> None:
    home = tmp_path / "new"
    maker = subprocess.run([sys.executable, "-c", KILLED_MAKER], env=os.environ | {"GRADUS_HOME": str(home)})
    assert maker.returncode == -signal.SIGKILL
    assert (home / ".mlflow.db-new").stat().st_size
    # Had it been made in its place, MLflow would not go on from what is there.
    open_client(home)
    with closing(sqlite3.connect(home / "mlflow.db")) as database:
        assert database.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)
    assert not list(home.glob(".mlflow.db-*"))
