"""What the benchmarks write down: medians, whether a target is met, the machine, and all values."""

import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from typer import BadParameter

from benchmarks import long_rows
from benchmarks.__main__ import BENCHMARKS, ON_GPU, chosen
from benchmarks.machine import Machine
from benchmarks.overhead import seconds_inside_steps
from benchmarks.report import Benchmark, Figure
from components.core.store import Store
from components.models.config import ModelConfig

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


def test_a_result_from_a_gpu_carries_the_cards_name(tmp_path: Path) -> None:
    machine = replace(MACHINE, gpu="NVIDIA H200")
    benchmark = Benchmark("spam", "By the clock.", [Figure("it", [3.0], 2.5, 1.5)]).of_size("355M").without_targets()
    path = benchmark.write(tmp_path, machine, date(2026, 11, 22))
    assert path.name == "spam-355m_nvidia-h200_2026-11-22.md"
    lines = path.read_text().splitlines()
    assert "- GPU: NVIDIA H200" in lines
    assert "- CPU: Some CPU @ 2.5GHz, 2 cores" in lines
    assert "| it | s | 3.00 | 3.00 | 3.00 |  |  |  |" in lines


def test_benchmarks_are_chosen_by_number_or_name_and_by_what_the_machine_has() -> None:
    assert chosen("4, spam", with_gpu=False) == ["spam", "instruction"]
    assert chosen("", with_gpu=False) == [name for name in BENCHMARKS.values() if name not in ON_GPU]
    assert chosen("", with_gpu=True) == list(BENCHMARKS.values())
    assert chosen("10", with_gpu=True) == ["long_rows"]
    with pytest.raises(BadParameter, match="long_rows needs a GPU"):
        chosen("1,10", with_gpu=False)
    with pytest.raises(BadParameter, match="no benchmark '15'; there are: 1 spam"):
        chosen("15", with_gpu=True)


@pytest.mark.slow
def test_long_rows_are_trained_on_plain_and_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    small = ModelConfig(size={"layers": 1, "heads": 1, "width": 8, "context": 16}, weights="random")
    found = long_rows.measure(small, batch=2, warm=1, steps=1, rounds=2)
    rates = {figure.what: figure.values for figure in found.figures}
    assert list(rates) == [*long_rows.WAYS, *long_rows.PUBLISHED]
    assert all(len(rates[what]) == 2 and min(rates[what]) > 0 for what in long_rows.WAYS)
    assert found.notes[0].startswith("2 rows of 16 tokens a step;")


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
