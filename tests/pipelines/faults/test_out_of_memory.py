"""A training that gets no memory, by a limit of the system's: a line that says which key to lower, and a failed run."""

import sys
from pathlib import Path

import pytest

from components.core.home import home
from tests.pipelines.faults.child import CALL
from tests.pipelines.faults.limits import SPARE
from tests.pipelines.faults.runs import drafts, gradus, lines_of, only_run, taken, write_preset

LARGE = [
    "--set=model.size={layers: 1, heads: 1, width: 1024, context: 1024}",
    "--set=train.trainable=all",
    "--set=train.batch_size=126",
    "--set=train.max_steps=1",
    "--set=train.eval_batches=1",
]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not heed such a limit")
def test_a_training_without_memory_says_which_keys_to_lower(tmp_path: Path, environment: dict[str, str]) -> None:
    preset = write_preset("classification", tmp_path / "data")
    little = environment | {CALL: "tests.pipelines.faults.limits:limit_memory", SPARE: "fine_tune:1500"}
    done = gradus("run", preset, *LARGE, "--set=train.padding=1024", environment=little)
    assert done.returncode == 1, done.stderr
    (line,) = lines_of(done.stderr)
    assert line.startswith("gradus: fine_tune: out of memory (it asked for another ")
    assert line.endswith(
        "lower train.batch_size (train.accumulate makes up for it) or train.max_length, or set train.trainable=lora"
    )
    run = only_run(home())[1]
    assert run.info.status == "FAILED"
    assert run.data.tags["gradus.error"].endswith("or set train.trainable=lora")
    assert drafts(home()) == []
    lowered = gradus("run", preset, *LARGE, "--set=train.max_length=32", "--json", environment=little)
    assert lowered.returncode == 0, lowered.stderr
    assert taken(lowered) == ["download", "validate", "split", "fetch_weights"]
