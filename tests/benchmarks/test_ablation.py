"""What a fast path gains: the share that it saves of the time and memory without it."""

import pytest

from benchmarks.ablation import COLUMNS, JOBS, MEASURED, UNTUNED, Gain
from components.models.fast import PATHS


@pytest.mark.ci
@pytest.mark.parametrize(
    ("time", "memory", "stays"),
    [([6.0, 4.0, 5.5], [0.0] * 3, True), ([4.0, 4.9, 9.0], [9.0] * 3, False), ([-1.0] * 3, [10.0, 9.0, 12.0], True)],
)
def test_a_path_stays_if_the_median_gain_of_time_or_memory_is_enough(
    time: list[float], memory: list[float], stays: bool
) -> None:
    gain = Gain("folding", "spam", time, memory, seconds=20.0, gigabytes=1.5)
    assert gain.stays == stays
    assert len(gain.row()) == len(COLUMNS)
    assert gain.row()[-1] == ("yes" if stays else "no")


def test_what_is_measured_exists() -> None:
    assert set(MEASURED) <= {*PATHS, *UNTUNED}
    assert {job for jobs in MEASURED.values() for job in jobs} == set(JOBS)
