"""What the benchmarks write down: medians, whether a target is met, the machine, and all values."""

import time
from datetime import date
from pathlib import Path

import pytest

from benchmarks.machine import Machine
from benchmarks.overhead import seconds_inside_steps
from benchmarks.report import Benchmark, Figure
from components.store import Store

MACHINE = Machine("Some CPU @ 2.5GHz", 2, 23.5, "Linux 6.1", load=0.1, versions={"python": "3.11.7"})


@pytest.mark.parametrize(
    ("values", "must", "met"),
    [([3.0, 1.0, 2.4], 2.5, "yes"), ([3.0, 1.0, 2.6], 2.5, "NO"), ([0.1, 9.0, 0.2], 2.5, "aim"), ([1.0], None, "")],
)
def test_the_median_is_held_against_the_targets(values: list[float], must: float | None, met: str) -> None:
    assert Figure("it", values, must, aim=1.0).met == met


def test_a_result_names_the_machine_and_every_value(tmp_path: Path) -> None:
    benchmark = Benchmark("overhead", "By the clock.", [Figure("it", [3.0, 1.0, 2.0], 2.5, 1.5)])
    path = benchmark.write(tmp_path / "results", MACHINE, date(2026, 11, 21))
    assert path.name == "overhead_some-cpu-2-5ghz-2-cores_2026-11-21.md"
    lines = path.read_text().splitlines()
    assert "| it | s | 2.00 | 1.00 | 3.00 | 2.50 | 1.50 | yes |" in lines
    assert "- it: 3, 1, 2 s" in lines
    assert "- load in the minute before: 0.1" in lines
    assert "- versions: python 3.11.7" in lines


def test_a_busy_machine_is_told_on() -> None:
    busy = Machine("Some CPU", 2, 23.5, "Linux 6.1", load=0.5, versions={})
    assert not MACHINE.is_busy
    assert busy.is_busy
    assert "not to be quoted" in busy.describe()["load in the minute before"]


def test_this_machine_can_be_described() -> None:
    machine = Machine.this()
    assert machine.cores >= 1
    assert machine.versions["prefect"] == "3.8.8"


def slow_block(out: Path) -> dict[str, object]:
    time.sleep(0.01)
    return {}


def test_the_time_inside_steps_is_what_their_manifests_say(tmp_path: Path) -> None:
    store = Store(tmp_path / "gradus" / "store")
    manifests = [store.produce(step, "key", slow_block) for step in ("download", "split")]
    assert seconds_inside_steps(tmp_path) >= 0.02
    assert seconds_inside_steps(tmp_path) == sum(manifest.seconds for manifest in manifests)
