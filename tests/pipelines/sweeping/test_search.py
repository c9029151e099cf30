"""Optuna's part: rows from a real study in SQLite, which goes on where it was stopped and stops what falls behind."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from components.core.errors import GradusError
from pipelines.sweeping.config import SweepConfig, load_sweep
from pipelines.sweeping.search import STARTUP, Search, Watching
from pipelines.sweeping.sweep import Plan
from tests import patience


def sweep(trials: int) -> SweepConfig:
    ranges = {"train.learning_rate": "1e-5..1e-2:log", "train.batch_size": "4..8:int", "train.weight_decay": "0..0.5"}
    grid = {"lora.targets": ["attention", ["attn.c_attn"]]}
    return load_sweep("spam-demo", {"trials": trials, "ranges": ranges, "grid": grid})


def open_search(folder: Path, trials: int = 3) -> Search:
    return Search(sweep(trials), "mine", folder, maximize=True)


@pytest.mark.ci
def test_a_trial_is_a_row_whose_values_are_within_their_ranges(tmp_path: Path) -> None:
    search = open_search(tmp_path)
    row = search.row(search.ask())
    config = row.config()
    assert 1e-5 <= config.train.learning_rate <= 1e-2
    assert config.train.batch_size in range(4, 9)
    assert 0 <= config.train.weight_decay <= 0.5
    assert config.lora.targets in ("attention", ["attn.c_attn"])
    assert row.name.startswith("1: learning_rate=")


def test_a_search_goes_on_after_the_trials_that_are_over(tmp_path: Path) -> None:
    first = open_search(tmp_path)
    for value in (0.5, 0.6):
        first.ended(first.ask(), value, pruned=False)
    again = open_search(tmp_path)
    assert again.missing == 1
    assert len(again.rows()) == 2
    assert open_search(tmp_path, trials=2).missing == 0


@pytest.mark.parametrize("failed", [True, False])
def test_a_trial_that_failed_or_whose_process_was_killed_stands_in_line_again(tmp_path: Path, failed: bool) -> None:
    first = open_search(tmp_path)
    trial = first.ask()
    if failed:
        first.ended(trial, None, pruned=False)
    again = open_search(tmp_path)
    open_search(tmp_path)  # and does not stand in it twice
    repeated = again.ask()
    assert repeated.params == trial.params
    again.ended(repeated, 0.5, pruned=False)
    assert again.ask().params != trial.params


@pytest.mark.ci
def test_a_search_that_goes_on_does_not_draw_the_same_again(tmp_path: Path) -> None:
    seen = []
    for _ in range(3):
        search = open_search(tmp_path, trials=9)
        trial = search.ask()
        seen.append(tuple(trial.params.items()))
        search.ended(trial, 0.5, pruned=False)
    assert len(set(seen)) == 3


def test_a_run_is_stopped_when_its_points_are_worse_than_the_median_of_earlier_ones(tmp_path: Path) -> None:
    search = open_search(tmp_path)
    for _ in range(STARTUP):
        trial = search.ask()
        Watching(trial, lambda: [(0, 0.5), (10, 0.8), (20, 0.9)]).report()
        search.ended(trial, 0.9, pruned=False)
    assert not Watching(search.ask(), lambda: [(0, 0.5), (10, 0.85)])()
    assert not Watching(search.ask(), lambda: [])()
    behind = search.ask()
    assert Watching(behind, lambda: [(0, 0.5), (10, 0.6)])()
    search.ended(behind, None, pruned=True)
    assert [pruned for _, pruned in search.rows()] == [*[False] * STARTUP, True]


@contextmanager
def locked(study: Path) -> Iterator[None]:
    with closing(sqlite3.connect(study)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A locked database is waited for no longer than a moment."""
    monkeypatch.setattr(patience, "LOCKED", 0.2)


@pytest.mark.parametrize("harm", ["text", "torn"])
def test_a_damaged_study_is_named_with_what_to_do(tmp_path: Path, harm: str) -> None:
    open_search(tmp_path).ask()
    (study,) = tmp_path.glob("*.db")
    study.write_bytes(b"no database at all" * 99 if harm == "text" else study.read_bytes()[:10_000])
    with pytest.raises(GradusError, match="move that file away") as refused:
        open_search(tmp_path)
    assert str(study) in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.usefixtures("impatient")
def test_a_locked_study_is_named_wherever_it_is_asked(tmp_path: Path) -> None:
    search = open_search(tmp_path)
    trial = search.ask()
    (study,) = tmp_path.glob("*.db")
    with locked(study):
        for asked in (search.ask, search.rows, lambda: search.ended(trial, 0.5, pruned=False)):
            with pytest.raises(GradusError, match=r"database is locked.* run the sweep again") as refused:
                asked()
            assert str(study) in str(refused.value)
    search.ended(trial, 0.5, pruned=False)
    assert len(search.rows()) == 1


@pytest.mark.usefixtures("impatient")
def test_points_that_a_locked_study_did_not_take_are_passed_on_later(tmp_path: Path) -> None:
    search = open_search(tmp_path)
    trial = search.ask()
    watching = Watching(trial, lambda: [(0, 0.5)])
    (study,) = tmp_path.glob("*.db")
    with locked(study):
        assert not watching()
    watching.report()
    (kept,) = search.study.trials
    assert kept.intermediate_values == {0: 0.5}


def test_a_study_knows_its_values_so_that_others_are_of_another_sweep() -> None:
    def identity(values: list[int], trials: int | None) -> str:
        return Plan(load_sweep("spam-demo", {"trials": trials, "grid": {"train.epochs": values}})).identity

    assert identity([1, 2], 3) == identity([1, 2], 5)
    assert identity([1, 2], 3) != identity([1, 2, 3], 3)
    assert identity([1, 2], None) == identity([1, 2, 3], None)


def test_another_scale_or_metric_is_another_study_and_other_ends_of_a_range_are_not() -> None:
    def identity(text: str, metric: str | None = None) -> str:
        changes = {"trials": 3, "ranges": {"train.learning_rate": text}, "metric": metric}
        return Plan(load_sweep("spam-demo", changes)).identity

    first = identity("1e-5..1e-2:log")
    assert first == identity("1e-6..1e-2:log")
    others = [identity("1e-5..1e-2"), identity("1..2:int"), identity("1e-5..1e-2:log", "validation/loss")]
    assert len({first, *others}) == 4


def test_a_sweep_without_trials_is_known_again_whatever_it_is_ranked_by() -> None:
    def identity(metric: str | None) -> str:
        return Plan(load_sweep("spam-demo", {"grid": {"train.epochs": [1, 2]}, "metric": metric})).identity

    assert identity(None) == identity("validation/loss") == "8ea6b3d95c2d7ab6c104bfb0b181fa23"
