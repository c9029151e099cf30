"""Runs at once that need the same step: it is computed once, and the others say that they wait for it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from components.core.home import home
from tests.patience import PATIENCE
from tests.pipelines.faults.child import CALL
from tests.pipelines.faults.limits import NOTES, SHARED
from tests.pipelines.faults.runs import NAME, all_runs, command, metrics_of, statuses, write_preset

DOWNLOAD = """
import sys
from tests.pipelines.faults.limits import wait_for_others
wait_for_others()
from components.tasks import download
from pipelines.config import load_config
found = download.without_prefect(load_config(sys.argv[1]).source)
print(found.digest, found.cached)
"""
WAITS = "waiting for another run that computes it"


def started(commands: list[list[str]], environment: dict[str, str]) -> list[tuple[int, str, str]]:
    """Start processes at once; return the exit code and the output of each."""
    processes = [
        subprocess.Popen(each, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for each in commands
    ]
    printed = [process.communicate(timeout=PATIENCE) for process in processes]
    return [(process.returncode, *both) for process, both in zip(processes, printed, strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_flows_at_once_train_once_and_the_others_say_that_they_wait(
    count: int, tmp_path: Path, environment: dict[str, str]
) -> None:
    preset = write_preset("instruction", tmp_path / "data")
    notes = tmp_path / "notes"
    notes.mkdir()
    together = {CALL: "tests.pipelines.faults.limits:wait_for_others", NOTES: str(notes)}
    together[SHARED] = f"fine_tune:{count - 1}"
    ended = started([command("run", preset, "--json")] * count, environment | together)
    assert [code for code, _, _ in ended] == [0] * count, ended
    assert sum(f"fine_tune: {WAITS}" in err for _, _, err in ended) == count - 1
    assert len(list(notes.glob("computes-*"))) == 1
    assert len(list(notes.glob("waits-*"))) == count - 1
    assert sum("fine_tune" in json.loads(out)["cached_steps"] for _, out, _ in ended) == count - 1
    client, runs = all_runs(home())
    assert statuses(home()) == {"FINISHED": count}
    assert all(metrics_of(run) == metrics_of(runs[0]) for run in runs)
    (model,) = client.search_logged_models([runs[0].info.experiment_id])
    (version,) = client.search_model_versions(f"name='{NAME}'")
    assert client.get_model_version_by_alias(NAME, "candidate").version == version.version
    for run in runs:
        assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]


@pytest.mark.slow
def test_sixteen_processes_at_once_download_once(tmp_path: Path, environment: dict[str, str]) -> None:
    preset = write_preset("classification", tmp_path / "data")
    (tmp_path / "notes").mkdir()
    together = {SHARED: "download:15", NOTES: str(tmp_path / "notes")}
    ended = started([[sys.executable, "-c", DOWNLOAD, str(preset)]] * 16, environment | together)
    assert [code for code, _, _ in ended] == [0] * 16, ended
    assert len(list((tmp_path / "notes").glob("computes-*"))) == 1
    digests, cached = zip(*(out.split() for _, out, _ in ended), strict=True)
    assert len(set(digests)) == 1
    assert sorted(cached) == ["False", *["True"] * 15]
    assert sum(f"download: {WAITS}" in err for _, _, err in ended) == 15
