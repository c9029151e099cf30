"""A loss that is no number ends a run: which key to lower, the rows that it came from, and a failed MLflow run."""

from pathlib import Path

import pandas as pd
import pytest

from components.core.home import home
from tests.pipelines.faults.runs import STEPS, gradus, lines_of, only_run, write_preset

DIVERGING = [
    "--set=train.trainable=all",
    "--set=train.learning_rate=1",
    "--set=train.weight_decay=1e30",
    "--set=train.clip=null",
    "--set=train.max_steps=50",
    "--set=train.epochs=50",
]


@pytest.mark.slow
@pytest.mark.parametrize("kind", STEPS)
def test_a_training_that_diverges_says_what_to_lower_and_keeps_the_rows(
    kind: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    preset = write_preset(kind, tmp_path / "data")
    done = gradus("run", preset, *DIVERGING, environment=environment)
    assert done.returncode == 1, done.stderr
    (line,) = lines_of(done.stderr)
    assert " is nan; lower train.learning_rate, set train.clip=1.0, or use train.precision=fp32" in line
    (kept,) = home().glob("store/fine_tune/*.failed")
    assert done.stderr.splitlines()[-1] == f"the rows that it came from: {kept}"
    assert len(pd.read_parquet(kept / "batch.parquet")) > 0
    run = only_run(home())[1]
    assert run.info.status == "FAILED"
    assert "lower train.learning_rate" in run.data.tags["gradus.error"]
    assert (Path(run.info.artifact_uri) / "failed" / "batch.parquet").is_file()
