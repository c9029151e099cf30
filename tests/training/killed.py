"""Trainings that are killed before the n-th thing that they do to a file.

`python -m tests.training.killed FOLDER RECIPE MOMENTS`, where 0 moments are all there are. The libraries are loaded
once; every attempt is a process of its own, forked from here, and ends by `kill -9` or by itself.
"""

import json
import math
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from components.core.records import Facts, Logger
from components.core.store import Store
from components.models.config import LoraConfig, ModelConfig
from components.training import checkpoints, loop
from components.training.config import TrainConfig
from components.training.fine_tuning import Start
from components.training.frozen import cache_features
from components.training.history import Step, log_step
from tests.training import instructing, tuning

FILE_EVENTS = {"open", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir"}
"""What Python tells an audit hook of before it is done; replacing is renaming, too."""
OFTEN = {"checkpoint_minutes": 1e-9, "eval_every": 2, "epochs": 1}
STILL = ModelConfig(**(tuning.MODEL.model_dump() | {"dropout": 0.0}))
RECIPES: dict[str, dict[str, Any]] = {
    "all": {"schedule": "cosine", "warmup": 2},
    "cached features": {"trainable": "last_block"},
    "lora": {"trainable": "lora", "keep": "last"},
    "accumulated": {"batch_size": 2, "accumulate": 2},
    "stopped early": {"early_stopping": 2, "learning_rate": 0.5, "epochs": 3},
    "instruction": {"keep": "best"},
    "instruction, lora": {"trainable": "lora", "keep": "last", "batch_size": 2, "accumulate": 2},
}


def train(folder: Path, recipe: str, logger: Any, out: Path) -> Facts:
    """Train by a recipe; a checkpoint after every step."""
    options = OFTEN | RECIPES[recipe]
    lora = LoraConfig(rank=2)
    if recipe.startswith("instruction"):
        return instructing.instruct(folder, logger=logger, out=out, lora=lora, **options)
    frozen = folder / "frozen" if recipe == "cached features" else None
    model = STILL if frozen else tuning.MODEL
    return tuning.tune(folder, logger=logger, out=out, model=model, lora=lora, frozen=frozen, **options)


class Written:
    """A logger whose points, and the steps that were computed, are lines of a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def metrics(self, values: dict[str, float], step: int) -> None:
        self.write([step, values])

    def write(self, line: Any) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def attempt(folder: Path, store: Path, recipe: str, kill: int | None) -> dict[str, Any]:
    """Train in a process of its own that is killed before its `kill`-th file event; return what came of it."""
    log = store / "points"
    store.mkdir(exist_ok=True)
    log.write_text("")
    if child := os.fork():
        status = os.waitpid(child, 0)[1]
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        return {
            "killed": os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL,
            "status": status,
            "computed": sum(line == "step" for line in lines),
            "events": sum(line == "event" for line in lines),
            "points": {json.dumps(line, sort_keys=True) for line in lines if isinstance(line, list)},
        }
    logger = Written(log)

    def counted(run: Logger, step: Step) -> None:
        logger.write("step")
        log_step(run, step)

    loop.log_step = counted
    status = 1
    try:
        _kill_before(kill, store / "fine_tune", logger)
        Store(store).produce("fine_tune", "key", lambda out: train(folder, recipe, logger, out))
        status = 0
    finally:
        if status:
            traceback.print_exc()
        os._exit(status)


def _kill_before(kill: int | None, root: Path, logger: Written) -> None:
    """Have this process killed before the `kill`-th change of a file in `root`; note all of them if that is None."""
    seen = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event in FILE_EVENTS and str(arguments[0]).startswith(str(root)):
            if event == "open" and arguments[1] in (None, "r", "rb"):
                return
            seen += 1
            if seen == kill:
                os.kill(os.getpid(), signal.SIGKILL)
            if kill is None:
                logger.write("event")

    sys.addaudithook(hook)


def content(store: Path) -> dict[str, bytes]:
    """Return the files of the published training but its manifest, which holds the time it took."""
    folder = store / "fine_tune/key"
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    manifest = json.loads(files.pop("manifest.json"))
    return files | {"facts": json.dumps([manifest["facts"], manifest["files"]], sort_keys=True).encode()}


def check(folder: Path, recipe: str, moments: int | None) -> int:
    """Kill a training at some moments, or at all; a second time soon after it went on; then let it come to its end.

    Returns how many moments there were.
    """
    prepare(folder, recipe)
    whole = attempt(folder, folder / "whole", recipe, None)
    assert whole["status"] == 0, whole["status"]
    expected, steps, events = content(folder / "whole"), whole["computed"], whole["events"]
    moments = moments or events
    chosen = [1 + round(number * (events - 1) / (moments - 1)) for number in range(moments)]
    for number, kill in enumerate(chosen):
        store = folder / f"killed-{kill}"
        attempts = [attempt(folder, store, recipe, kill), attempt(folder, store, recipe, 1 + number % 13)]
        attempts.append(attempt(folder, store, recipe, 10**9))
        told = f"killed before event {kill} of {events}, then before {1 + number % 13}"
        assert attempts[0]["killed"], told
        assert attempts[-1]["status"] == 0, told
        assert content(store) == expected, told
        assert set.union(*(each["points"] for each in attempts)) == whole["points"], told
        lost = sum(each["computed"] for each in attempts) - steps
        assert lost <= sum(each["killed"] for each in attempts), f"{told}: {lost} steps were computed again"
        left = [path.name for path in (store / "fine_tune").iterdir() if path.is_dir() and path.name != "key"]
        assert not left, f"{told}: {left}"
    return moments


def prepare(folder: Path, recipe: str) -> None:
    """Write splits, and what the frozen blocks make of them."""
    if recipe.startswith("instruction"):
        instructing.write_splits(folder, train=24)
        return
    tuning.write_splits(folder)
    if recipe == "cached features":
        tables = {"train": folder / "train.parquet", "validation": folder / "validation.parquet"}
        tables["test"] = tables["validation"]
        (folder / "frozen").mkdir()
        config = TrainConfig(**(tuning.QUICK | OFTEN | RECIPES[recipe]))
        if not (child := os.fork()):  # torch's threads do not outlast a fork
            facts = cache_features(tables, tuning.LABELS, Start(STILL), config, folder / "frozen")
            os._exit(0 if facts["kept"] else 1)
        assert os.waitpid(child, 0)[1] == 0


if __name__ == "__main__":
    checkpoints.SHARE = math.inf
    # The disk itself does not matter to a process that is killed, but takes its time.
    os.fsync = lambda _descriptor: None  # type: ignore[assignment]
    sys.stdout.write(str(check(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]) or None)))
