"""Checkpoints while a training goes on: `kill -9` at any moment loses little, and they cost little."""

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from components.core.records import Logger
from components.training import checkpoints, loop
from components.training.checkpoints import SHARE, Checkpoints, complete
from components.training.history import Step, log_step
from components.training.loop import Trainer
from tests.training.killed import RECIPES
from tests.training.tuning import Recorder, tune, weights

ROOT = Path(__file__).parents[2]


def kill(folder: Path, recipe: str, moments: int) -> None:
    command = [sys.executable, "-m", "tests.training.killed", str(folder), recipe, str(moments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == moments


@pytest.mark.ci
def test_a_training_that_is_killed_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    kill(tmp_path, "all", 2)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("recipe", RECIPES)
def test_whatever_a_training_does_when_it_is_killed_it_goes_on_as_if_it_had_not_been(
    tmp_path: Path, recipe: str
) -> None:
    kill(tmp_path, recipe, 20)


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Timed(Checkpoints):
    """Checkpoints of which each write takes some seconds of the clock."""

    def __init__(self, trainer: Trainer, folder: Path) -> None:
        self.seconds = Clock()
        super().__init__(trainer, folder, self.seconds)
        self.at: list[float] = []


def costs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durations: tuple[float, ...], minutes: float | None
) -> Timed:
    """Let two hours pass in steps of ten seconds, with checkpoints that take as long as is said."""
    made: list[Timed] = []
    whole = checkpoints.write_checkpoint

    def slow(trainer: Trainer, folder: Path) -> None:
        (timed,) = made
        timed.seconds.now += durations[min(len(timed.at), len(durations) - 1)]
        timed.at.append(timed.clock())
        whole(trainer, folder)
        if len(set(durations)) == 1:
            assert durations[0] * len(timed.at) <= SHARE * timed.clock() or len(timed.at) == 1

    def timed(trainer: Trainer, folder: Path) -> Timed:
        made.append(Timed(trainer, folder))
        return made[0]

    def ten_seconds(logger: Logger, step: Step) -> None:
        made[0].seconds.now += 10
        log_step(logger, step)

    monkeypatch.setattr(checkpoints, "write_checkpoint", slow)
    monkeypatch.setattr("components.training.fine_tuning.Checkpoints", timed)
    monkeypatch.setattr(loop, "log_step", ten_seconds)
    tune(tmp_path, max_steps=720, epochs=72, eval_every=720, checkpoint_minutes=minutes)
    return made[0]


@pytest.mark.ci
def test_checkpoints_come_every_few_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timed = costs(tmp_path, monkeypatch, (1.0,), minutes=5)
    assert timed.at == [pytest.approx(301 * count, abs=10) for count in range(1, 25)]
    assert [each.name for each in complete(tmp_path / "out/checkpoint")] == ["720"]


@pytest.mark.ci
def test_slow_checkpoints_come_so_rarely_that_they_take_three_per_cent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = costs(tmp_path, monkeypatch, (30.0,), minutes=5)
    assert len(timed.at) == 7
    assert timed.at[1] == pytest.approx(2060, abs=20)


@pytest.mark.slow
def test_a_disk_that_becomes_slow_is_made_up_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timed = costs(tmp_path, monkeypatch, (1.0, 100.0, 1.0), minutes=5)
    assert timed.at[2] - timed.at[1] > 100 / SHARE - 700
    assert timed.spent <= SHARE * timed.clock()


@pytest.mark.slow
@pytest.mark.parametrize("minutes", [0, None])
def test_checkpoints_can_be_switched_off(
    tmp_path: Path, minutes: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not costs(tmp_path, monkeypatch, (0.0,), minutes=minutes).at  # type: ignore[arg-type]


@pytest.fixture
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "SHARE", float("inf"))


@pytest.mark.usefixtures("_often")
def test_a_disk_without_room_for_a_checkpoint_does_not_stop_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = checkpoints.write_checkpoint

    def full(trainer: Trainer, folder: Path) -> None:
        whole(trainer, folder)
        if trainer.taken > 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "write_checkpoint", full)
    facts = tune(tmp_path, max_steps=5, checkpoint_minutes=1e-9)
    assert facts["steps"] == 5
    assert "no checkpoint was written after step 4: [Errno 28] No space left on device" in caplog.text
    assert [path.name for path in (tmp_path / "out/checkpoint").iterdir()] == ["3"], "the last good one, and no half"


@pytest.mark.ci
@pytest.mark.usefixtures("_often")
@pytest.mark.parametrize("harm", ["junk", "empty folder"])
def test_where_the_newest_checkpoint_is_damaged_the_one_before_is_taken(
    tmp_path: Path, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    tune(tmp_path, "whole", max_steps=8)
    for steps in (3, 5):
        tune(tmp_path, f"first-{steps}", max_steps=8, checkpoint_minutes=1e-9)
    out = tmp_path / "again"
    (out / "checkpoint").mkdir(parents=True)
    kept = tmp_path / "first-3/checkpoint/8"
    shutil.copytree(kept, out / "checkpoint/8")
    if harm == "junk":
        shutil.copytree(kept, out / "checkpoint/9")
        (out / "checkpoint/9/state.safetensors").write_bytes(b"junk")
    else:
        (out / "checkpoint/9").mkdir()
    tune(tmp_path, out=out, max_steps=8)
    assert "going on from step 8 of 8 (checkpoint of " in caplog.text
    assert weights(tmp_path, "again")["head.weight"].equal(weights(tmp_path, "whole")["head.weight"])


@pytest.mark.ci
@pytest.mark.usefixtures("_often")
def test_what_a_checkpoint_holds_is_not_changed_by_what_training_goes_on_to_do(tmp_path: Path) -> None:
    class Watching(Recorder):
        held: bytes | None = None

        def metrics(self, values: dict[str, float], step: int) -> None:
            super().metrics(values, step)
            best = tmp_path / "out/checkpoint/5/best.safetensors"
            if best.exists():
                self.held = self.held or best.read_bytes()
                assert best.read_bytes() == self.held

    watching = Watching()
    tune(tmp_path, logger=watching, max_steps=20, checkpoint_minutes=1e-9)
    assert watching.held
    assert load_file(tmp_path / "out/checkpoint/20/best.safetensors")
