"""A disk that is full is one line, whichever library notices it, and nothing half-written stays."""

import errno
import gc
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch

from components.core.errors import GradusError, NoRoom, TrackingError
from components.core.room import describe_full, files_in, is_full, require_room, size_of
from components.core.store import Store
from components.tracking.stores import tracking_errors

ROOT = Path(__file__).parents[2]
MEGABYTES = 8
TOO_MUCH = 4_000_000
"""Numbers of 4 bytes, twice what has room."""


@pytest.fixture
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A disk of a few megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={getattr(request, 'param', MEGABYTES)}m", "tmpfs", folder]
    if sys.platform != "linux" or os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this user may not mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def table(out: Path) -> None:
    column = [os.urandom(4000) for _ in range(4000)]
    pq.write_table(pa.table({"x": column}), out / "table.parquet")


def pandas(out: Path) -> None:
    pd.DataFrame({"x": [os.urandom(4000) for _ in range(4000)]}).to_parquet(out / "table.parquet")


def torch_pickle(out: Path) -> None:
    torch.save(torch.rand(TOO_MUCH), out / "checkpoint.pt")


def tensors(out: Path) -> None:
    safetensors.torch.save_file({"x": torch.rand(TOO_MUCH)}, out / "model.safetensors")


def sqlite(out: Path) -> None:
    with sqlite3.connect(out / "index.db") as database:
        database.execute("CREATE TABLE rows (x BLOB)")
        database.executemany("INSERT INTO rows VALUES (?)", [(os.urandom(4000),) for _ in range(4000)])


def text(out: Path) -> None:
    (out / "notes.txt").write_text("x" * TOO_MUCH * 4)


def wrapped(out: Path) -> None:
    try:
        text(out)
    except OSError:
        raise GradusError("cannot write notes") from None


@pytest.mark.ci
@pytest.mark.parametrize("write", [table, pandas, torch_pickle, tensors, sqlite, text, wrapped])
def test_a_step_says_what_it_needs_and_leaves_nothing(small: Path, write: Callable[[Path], None]) -> None:
    def block(out: Path) -> dict[str, Any]:
        write(out)
        return {}

    with pytest.raises(NoRoom, match=r"^no room left in .*small.*, needs about [\d.,]+ MB and has ") as refused:
        Store(small).produce("demo", "k", block)
    assert "\n" not in str(refused.value)
    assert "GRADUS_HOME" in str(refused.value)
    del refused  # PyTorch's file, which is open as long as the traceback is there
    gc.collect()
    left = [path.name for path in small.rglob("*") if path.is_file()]
    assert left == [".k.lock"]
    assert Store(small).produce("demo", "k", lambda _: {"now": 1}).facts == {"now": 1}


def test_what_an_earlier_result_took_is_what_the_next_needs(small: Path) -> None:
    store = Store(small)
    store.produce("demo", "first", lambda out: {"bytes": (out / "x").write_bytes(bytes(7_000_000))})
    with pytest.raises(NoRoom, match=r"needs about 1[0-9]\.\d MB"):
        store.produce("demo", "second", lambda out: {"bytes": (out / "x").write_bytes(bytes(7_000_000))})


def test_a_disk_that_is_full_to_the_last_byte(small: Path) -> None:
    (small / "store" / "demo").mkdir(parents=True)
    (small / "store" / "demo" / ".k.lock").touch()
    fill = [sys.executable, "-c", "while True: __import__('os').write(1, bytes(4096))"]
    with (small / "filler").open("wb") as file:
        subprocess.run(fill, stdout=file, stderr=subprocess.DEVNULL)
    with pytest.raises(NoRoom, match="no room left in"):
        Store(small / "store").produce("demo", "k", lambda out: {"written": (out / "x").write_text("x" * 100_000)})


@pytest.mark.ci
@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        pa.ArrowException("IOError: Failed to write: No space left on device"),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
        sqlite3.OperationalError("database or disk is full"),
        RuntimeError("[enforce fail at inline_container.cc] . PytorchStreamWriter failed: No space left on device"),
    ],
)
def test_it_is_known_however_it_is_said(error: Exception, tmp_path: Path) -> None:
    assert is_full(error)
    outer = ValueError("outer")
    outer.__cause__ = error
    assert is_full(outer)
    assert re.search("no room left.*needs about", describe_full(error, tmp_path))
    with pytest.raises(TrackingError, match="cannot log: no room left"), tracking_errors("cannot log"):
        raise error if isinstance(error, (OSError, sqlite3.Error)) else OSError(str(error))


def test_a_copy_names_where_it_goes_to(small: Path, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(bytes(9_000_000))
    (small / "home").mkdir()
    with pytest.raises(OSError, match="No space") as caught:
        shutil.copyfile(tmp_path / "source", small / "copy")
    assert describe_full(caught.value, tmp_path).startswith(f"no room left in {small}, needs about")


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    def block(out: Path) -> dict[str, Any]:
        raise OSError(errno.EACCES, "denied")

    assert not is_full(ValueError("row 28 has no space"))
    with pytest.raises(OSError, match="denied"):
        Store(tmp_path).produce("demo", "k", block)


def test_what_is_known_before_is_said_before(tmp_path: Path) -> None:
    require_room(tmp_path, 1)
    with pytest.raises(NoRoom, match=r"needs about 1,000,000\.0 GB"):
        require_room(tmp_path, 10**15)


def test_what_goes_away_while_it_is_counted_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("a", "b", "folder/c"):
        (tmp_path / name).write_bytes(bytes(10))
    (tmp_path / "link").symlink_to("a")
    assert size_of(tmp_path) == 30
    assert size_of(tmp_path / "a") == 10
    counted = files_in(tmp_path)
    assert next(counted).st_size == 10
    shutil.rmtree(tmp_path)
    assert list(counted) == []


@pytest.mark.slow
@pytest.mark.parametrize("small", [2, 4, 5], indirect=True)  # full in a step, in MLflow, while the model is logged
def test_a_whole_run_without_room_ends_in_a_line(small: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "GRADUS_HOME": str(small / "home"), "PREFECT_HOME": str(tmp_path / "prefect")}
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from pipelines.cli.start import main; main()",
            "run",
            "spam-demo",
            "--set=train.max_steps=20",
        ],
        env={**environment, "PYTHONPATH": str(ROOT), "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "1800"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("gradus:") and "running" not in line]
    assert len(lines) == 1
    assert re.search(r"no room left in .*small.*needs about", lines[0])
    assert "Traceback" not in done.stderr
