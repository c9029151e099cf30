"""`gradus gc` and `gradus store` on real homes: what is referred to stays, what is not goes when it is asked for."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from components.core.durable import in_use
from components.core.store import CHECKPOINT, Store
from components.serving.load import load_model
from components.tracking.cleaning import References, references
from components.tracking.config import TrackingConfig
from components.tracking.names import CACHED_FROM, STEPS_TAG
from components.tracking.registry.finding import resolve_model
from components.tracking.runs import open_run
from components.tracking.sweeps import SWEEP_TAG
from pipelines import cleaning
from pipelines.run import RunSummary
from tests.pipelines.commands import gradus
from tests.pipelines.labelled_runs import labelled_run

ROOT = Path(__file__).parents[2]
QUIET = TrackingConfig(experiment="cleaned", system_metrics=False)
KEPT, UNKNOWN, BROKEN = ("a" * 32, "b" * 32, "c" * 32)
USES = """
import sys
from pathlib import Path
from components.core.store import Store
assert Store(Path(sys.argv[1])).find("work", sys.argv[2])
print("taken", flush=True)
sys.stdin.read()
"""


def write(out: Path) -> dict[str, str]:
    (out / "result.txt").write_text("x" * 1000)
    return {}


def client(home: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{home}/mlflow.db")


def run_that_took(home: Path, *keys: str, **tags: str) -> str:
    """Record a run that has taken results of the step `work` from the store."""
    noted = {STEPS_TAG: " ".join(f"work/{key}" for key in keys)}
    with open_run(QUIET, home, "made", {}, noted | tags) as run:
        run.metrics({"test/accuracy": 1.0}, 1)
    return run.run_id


def removable(*arguments: str) -> dict[str, bool]:
    """Return what `gradus gc` names, and whether it has removed that."""
    done = gradus("gc", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return {each["name"]: each["removed"] for each in json.loads(done.stdout)["garbage"]}


@pytest.fixture
def store(isolated: Path) -> Store:
    """A store with a result that a run has taken, one that none has, and attempts at both that came to no end."""
    store = Store(isolated / "store")
    for key in (KEPT, UNKNOWN):
        store.produce("work", key, write)
    for key in (KEPT, BROKEN):
        (store.root / "work" / f".{key}-left" / CHECKPOINT).mkdir(parents=True)
    run_that_took(isolated, KEPT)
    return store


def let_go() -> None:
    """Let this process, which has made the results, have them in use no more."""
    while in_use:
        in_use.popitem()[1].close()


def test_nothing_goes_before_it_is_asked_for_and_then_only_what_no_run_has_taken(store: Store) -> None:
    let_go()
    unknown, attempt = f"work/{UNKNOWN}", f"work/.{BROKEN}-left"
    assert removable() == {unknown: False, attempt: False}
    assert (store.root / unknown / "result.txt").exists()
    assert removable("--delete") == {unknown: True, attempt: True}
    left = {path.name for path in (store.root / "work").iterdir() if path.is_dir()}
    assert left == {KEPT, f".{KEPT}-left"}, "what a killed attempt at a kept run's step goes on from stays"
    assert removable() == {}
    assert store.produce("work", UNKNOWN, write).files["result.txt"].bytes == 1000, "it is computed again"


def test_what_a_process_has_taken_stays_until_it_ends(store: Store) -> None:
    let_go()
    command = [sys.executable, "-c", USES, str(store.root), UNKNOWN]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "taken\n"
        assert f"work/{UNKNOWN}" not in removable("--delete")
        assert store.last_use("work", UNKNOWN) is None
        assert store.remove("work", UNKNOWN, store.root / "work" / UNKNOWN, None) is False
        process.kill()
    let_go()
    assert removable("--delete") == {f"work/{UNKNOWN}": True}


@pytest.mark.parametrize("again", ["taken", "tried"])
def test_what_a_run_has_used_that_ended_meanwhile_stays(
    again: str, store: Store, isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go()
    result, attempt = f"work/{UNKNOWN}", f"work/.{BROKEN}-left"

    def fails(out: Path) -> dict[str, str]:
        error = RuntimeError("stopped")
        error.evidence = out  # type: ignore[attr-defined]
        raise error

    def slow(home: Path) -> References:
        found = references(home)
        if again == "taken":
            assert store.find("work", UNKNOWN)
        else:
            with pytest.raises(RuntimeError, match="stopped"):
                store.produce("work", BROKEN, fails)
        run_that_took(isolated, UNKNOWN if again == "taken" else BROKEN)
        let_go()
        return found

    monkeypatch.setattr(cleaning, "references", slow)
    removed = {each.name: each.removed for each in cleaning.clean(delete=True).garbage}
    assert removed == {result: again == "tried", attempt: again == "taken"}
    assert (store.root / result / "result.txt").exists() == (again == "taken")
    assert (store.root / "work" / f"{BROKEN}.failed").exists() == (again == "tried")


def test_a_deleted_run_goes_with_its_files_unless_its_model_is_registered_or_a_kept_run_uses_it(
    isolated: Path, tmp_path: Path, saved_model: Path
) -> None:
    registered, used, alone = (labelled_run(isolated, tmp_path, saved_model, name, 5) for name in ("a", "b", "c"))
    user = run_that_took(isolated, **{CACHED_FROM: used})
    for name in ("b", "c"):
        client(isolated).delete_registered_model(name)
    for run in (registered, used, alone):
        client(isolated).delete_run(run)
    folders = [path for path in (isolated / "artifacts").rglob("*") if path.name == alone]
    model = Path(resolve_model(f"runs:/{alone}/model", isolated))
    assert folders
    assert removable() == {f"{alone} made": False}
    assert model.is_dir()
    assert removable("--delete") == {f"{alone} made": True}
    assert not model.exists()
    assert not any(folder.exists() for folder in folders)
    with pytest.raises(MlflowException):
        client(isolated).get_run(alone)
    assert load_model(resolve_model("models:/a/1", isolated))
    assert resolve_model(user, isolated) == resolve_model(f"runs:/{used}/model", isolated)


def test_logs_of_a_sweep_go_with_its_runs(isolated: Path) -> None:
    run = run_that_took(isolated, **{SWEEP_TAG: "sweep-of-layers"})
    for name in ("sweep-of-layers", "sweep-of-long-ago"):
        (isolated / "sweeps" / name).mkdir(parents=True)
    assert removable() == {"sweep-of-long-ago": False}
    client(isolated).delete_run(run)
    assert set(removable("--delete")) == {"sweep-of-long-ago", "sweep-of-layers", f"{run} made"}
    assert not list((isolated / "sweeps").glob("*/"))


def test_where_mlflow_does_not_answer_nothing_is_removed(store: Store) -> None:
    let_go()
    done = gradus("gc", "--delete", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert done.returncode == 1
    assert "127.0.0.1:9" in done.stderr
    assert (store.root / "work" / UNKNOWN).exists()


@pytest.mark.ci
def test_a_home_with_nothing_in_it_is_no_fault(isolated: Path) -> None:
    assert removable("--delete") == {}
    assert json.loads(gradus("store", "--json").stdout)["home"] == str(isolated)


def test_a_run_says_what_it_has_taken_and_all_of_it_stays(finished: RunSummary, isolated: Path) -> None:
    taken = client(isolated).get_run(finished.run_id).data.tags[STEPS_TAG].split()
    assert {step.partition("/")[0] for step in taken} >= {"download", "validate", "split", "fine_tune", "evaluate"}
    assert all((isolated / "store" / step / "manifest.json").exists() for step in taken)
    assert removable("--delete") == {}


def test_what_takes_how_much_counts_a_file_once(finished: RunSummary, isolated: Path) -> None:
    parts = {part["name"]: part for part in json.loads(gradus("store", "--json").stdout)["parts"]}
    assert {"artifacts", "mlflow.db", "store/fine_tune", "store/split"} <= parts.keys()
    numbers = {(path.stat().st_ino, path.stat().st_size) for path in isolated.rglob("*") if path.is_file()}
    every = sum(size for _, size in numbers)
    assert every - 100_000 < sum(part["bytes"] for part in parts.values()) <= every
    table = gradus("store").stdout
    assert "store/fine_tune" in table
    assert finished.run_id not in table


def test_what_goes_away_while_it_is_counted_is_no_fault(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = os.scandir

    def goes_first(path: str | Path | int) -> object:
        if isinstance(path, (str, Path)) and Path(path).name == CHECKPOINT:
            shutil.rmtree(path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", goes_first)
    parts = {part.name: part for part in cleaning.usage().parts}
    assert parts["store/work"].bytes > 2000
    assert not list(store.root.rglob(CHECKPOINT))


def test_what_a_run_of_the_oldest_of_many_experiments_took_stays(store: Store, isolated: Path) -> None:
    let_go()
    some = client(isolated).create_experiment("some")
    with sqlite3.connect(isolated / "mlflow.db") as database:
        names = [row[1] for row in database.execute("PRAGMA table_info(experiments)")]
        row = database.execute(f"SELECT * FROM experiments WHERE experiment_id = {some}").fetchone()
        values = dict(zip(names, row, strict=True))
        for number in range(1000):
            values |= {"experiment_id": 10_000 + number, "name": f"later {number}"}
            database.execute(f"INSERT INTO experiments VALUES ({', '.join('?' * len(names))})", [*values.values()])
    assert set(removable()) == {f"work/{UNKNOWN}", f"work/.{BROKEN}-left"}
