"""The store's disk is full in the middle of a run, and has room again: one line, then the same command ends well."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.core.store import CHECKPOINT
from tests.pipelines.faults.child import CALL
from tests.pipelines.faults.limits import FILLER, FULL_IN
from tests.pipelines.faults.runs import STEPS, drafts, gradus, lines_of, statuses, taken, write_preset


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of the test's own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", folder]
    if sys.platform != "linux" or os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this user may not mount a disk")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "step"), [("classification", "validate"), ("classification", "fine_tune"), ("instruction", "respond")]
)
def test_a_run_on_a_full_disk_says_so_and_goes_on_once_there_is_room(
    kind: str, step: str, disk: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    preset = write_preset(kind, tmp_path / "data")
    environment = environment | {"GRADUS_HOME": str(disk / "home")}
    filler = disk / "filler"
    full = {CALL: "tests.pipelines.faults.limits:fill_disk", FULL_IN: step, FILLER: str(filler)}
    refused = gradus("run", preset, environment=environment, **full)
    assert refused.returncode == 1, refused.stderr
    (line,) = lines_of(refused.stderr)
    assert re.search(r"no room left in .*disk.*, needs about", line)
    left = [path for name in drafts(disk / "home") for path in disk.glob(f"home/store/*/{name}/*")]
    assert {path.name for path in left} <= {CHECKPOINT}, "nothing is left but what the next run goes on from"
    filler.unlink()
    again = gradus("run", preset, "--json", environment=environment)
    assert again.returncode == 0, again.stderr
    assert taken(again) == STEPS[kind][: STEPS[kind].index(step)]
    assert drafts(disk / "home") == []
    sent = gradus("sync", environment=environment)  # as the first run has said: it could not write its end down
    assert sent.returncode == 0, sent.stderr
    assert statuses(disk / "home")["FINISHED"] == 1
    assert statuses(disk / "home")["RUNNING"] == 0
