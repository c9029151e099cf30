"""`gradus sweep` and `gradus judge` as flows."""

from pathlib import Path
from typing import Any

import pytest

from components.tracking.stores import open_client
from pipelines.judging import JudgementResult
from pipelines.run import RunSummary
from pipelines.service.judge import judging
from pipelines.service.sweep import sweep
from pipelines.sweeping.outcome import SweepResult
from tests.pipelines.classifying import TINY

pytestmark = [pytest.mark.slow, pytest.mark.minutes]


@pytest.mark.ci
@pytest.mark.usefixtures("prefect_server")
def test_a_sweep_runs_its_rows_and_one_that_cannot_be_says_why(isolated: Path) -> None:
    state: Any = sweep("spam-demo", grid={"train.nothing": [1]}, return_state=True)
    assert state.is_failed()
    assert "train.nothing" in state.message
    found = sweep("spam-demo", grid={"train.pooling": ["last_token", "mean"]}, overrides=TINY)
    assert isinstance(found, SweepResult)
    assert [len(row.runs) for row in found.rows] == [1, 1]
    assert {row.rank for row in found.rows} == {1, 2}
    again = sweep("spam-demo", grid={"train.pooling": ["last_token", "mean"]}, overrides=TINY)
    assert isinstance(again, SweepResult)
    assert sorted(row.runs for row in again.rows) == sorted(row.runs for row in found.rows)


@pytest.mark.ci
def test_responses_are_judged_again(instructed: tuple[Path, RunSummary], isolated: Path) -> None:
    summary = instructed[1]
    found = judging(summary.run_id, overrides=["judge.kind=lexical"])
    assert isinstance(found, JudgementResult)
    metrics = open_client(isolated).get_run(summary.run_id).data.metrics
    assert [name for name in metrics if name.startswith("judgement/lexical/")]
    state: Any = judging("nobody-here", return_state=True)
    assert state.is_failed()
    assert "nobody-here" in state.message
