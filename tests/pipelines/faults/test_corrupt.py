"""What stands in a home is damaged: it is computed again, or named in one line that says what to do."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from components.core.home import home
from components.core.records import Manifest
from components.core.store import MANIFEST, Store
from components.tracking.stores import DATABASE
from pipelines.run import RunSummary
from tests.pipelines.faults.runs import NAME, STEPS, all_runs, gradus, lines_of, metrics_of, statuses, taken


def flip(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 255]) if content else b"x")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] if path.stat().st_size else b"x")


HARMS = [flip, cut, Path.unlink]


def entries() -> list[Manifest]:
    """The results in the store of this test's home, in the order in which they were written."""
    found = sorted(home().glob(f"store/*/*/{MANIFEST}"), key=lambda path: path.stat().st_mtime_ns)
    return [Manifest.model_validate_json(path.read_text()) for path in found]


@pytest.mark.ci
@pytest.mark.usefixtures("instructed")
def test_whatever_file_of_a_result_is_damaged_it_is_none() -> None:
    store = Store(home() / "store")
    for entry in entries():
        folder = store.root / entry.step / entry.key
        for name in [*entry.files, MANIFEST]:
            path = folder / name
            whole = path.read_bytes()
            for harm in HARMS:
                harm(path)
                found = store.find(entry.step, entry.key)
                assert found is None or (harm, name) == (cut, MANIFEST), f"{entry.step}: {name}"
                path.write_bytes(whole)
        assert store.find(entry.step, entry.key), entry.step


@pytest.mark.slow
def test_a_run_on_damaged_results_computes_them_again_and_comes_to_the_same(
    instructed: tuple[Path, RunSummary], environment: dict[str, str]
) -> None:
    preset = instructed[0] / "tiny.yaml"
    before = {entry.step: entry.digest for entry in entries()}
    assert set(before) == set(STEPS["instruction"])
    for number, entry in enumerate(entries()):
        # One file of each: the largest; or the manifest.
        files = sorted(entry.files, key=lambda name: -entry.files[name].bytes)
        name = MANIFEST if number % 3 == 0 or not files else files[0]
        HARMS[number % 2](home() / "store" / entry.step / entry.key / name)
    for number, record in enumerate(sorted((home() / "results").iterdir())):
        HARMS[number % 3](record)
    again = gradus("run", preset, "--json", environment=environment)
    assert again.returncode == 0, again.stderr
    assert lines_of(again.stderr) == []
    assert {entry.step: entry.digest for entry in entries()} == before
    assert statuses(home()) == {"FINISHED": 2}
    first, second = (metrics_of(run) for run in all_runs(home())[1])
    assert first == second


@pytest.mark.slow
@pytest.mark.parametrize("harm", HARMS)
def test_damaged_records_of_prefect_cost_nothing(
    harm: object, instructed: tuple[Path, RunSummary], environment: dict[str, str]
) -> None:
    records = list((home() / "results").iterdir())
    assert records
    for record in records:
        harm(record)  # type: ignore[operator]
    again = gradus("run", instructed[0] / "tiny.yaml", "--json", environment=environment)
    assert again.returncode == 0, again.stderr
    assert taken(again) == STEPS["instruction"]


@pytest.mark.slow
def test_a_damaged_database_is_one_line_and_nothing_else_is_lost(
    instructed: tuple[Path, RunSummary], environment: dict[str, str], tmp_path: Path
) -> None:
    preset, database = instructed[0] / "tiny.yaml", home() / DATABASE
    database.write_bytes(database.read_bytes()[:100_000])
    refused = gradus("run", preset, environment=environment)
    assert refused.returncode == 1
    (line,) = lines_of(refused.stderr)
    assert f"{database} is damaged (database disk image is malformed): put a copy of it back, or move it away" in line
    shutil.move(database, tmp_path / "aside.db")
    again = gradus("run", preset, "--json", environment=environment)
    assert again.returncode == 0, again.stderr
    assert taken(again) == STEPS["instruction"]
    with closing(sqlite3.connect(database)) as made:  # MLflow has the other one open, in this process
        assert made.execute("SELECT status FROM runs").fetchall() == [("FINISHED",)]
        assert made.execute("SELECT name, version FROM model_versions").fetchall() == [(NAME, 1)]
