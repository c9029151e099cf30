"""`gradus sweep` from end to end, with real processes, Prefect and MLflow: what is run, kept, repeated and reported."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
from mlflow import MlflowClient
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial

from components.core.home import home
from components.tasks import download
from pipelines.config import load_config
from pipelines.sweeping.config import load_sweep, parse_set
from pipelines.sweeping.search import STARTUP, Search
from pipelines.sweeping.sweep import SWEEPS, Plan, open_parent
from tests.patience import PATIENCE

pytestmark = [pytest.mark.slow, pytest.mark.minutes, pytest.mark.timeout(3600)]

GRADUS = [sys.executable, "-c", "from pipelines.cli.start import main; main()"]
TINY = [
    "--limit=300",
    "--set=model.size={layers: 1, heads: 1, width: 16, context: 128}",
    "--set=train.max_steps=3",
    "--set=train.eval_batches=2",
    "--set=tracking.system_metrics=false",
]
RATES = "--grid=train.learning_rate=0.001,0.01"


def start(folder: Path, *arguments: str, preset: str = "spam-demo") -> "subprocess.Popen[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
    return subprocess.Popen(
        [*GRADUS, "sweep", preset, *(TINY if preset == "spam-demo" else ()), *arguments],
        env=environment | {"PREFECT_HOME": str(folder), "DO_NOT_TRACK": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def sweep(folder: Path, *arguments: str, code: int = 0) -> tuple[dict[str, Any], str]:
    """Run a sweep to its end; return what it printed as JSON, and what it said."""
    process = start(folder, "--json", *arguments)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, err
    return json.loads(out), err


def wait_for(line: str, process: "subprocess.Popen[str]") -> None:
    assert process.stderr
    said = [process.stderr.readline()]
    while line not in said[-1]:
        assert said[-1], said
        said.append(process.stderr.readline())


def client() -> MlflowClient:
    return MlflowClient(f"sqlite:///{home()}/mlflow.db")


def under(parent: str) -> dict[str, str]:
    """Return the statuses of the runs that MLflow's pages nest under another one, by their names and ids."""
    found = client()
    experiment = found.get_run(parent).info.experiment_id
    runs = found.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
    return {f"{run.info.run_name} {run.info.run_id}": run.info.status for run in runs}


def steps(name: str) -> list[Path]:
    return list((home() / "store" / name).glob("*/manifest.json"))


def test_shared_steps_are_run_once_a_failing_run_stops_no_other_and_a_repeated_sweep_runs_what_is_missing(
    tmp_path: Path,
) -> None:
    # A warm-up that is longer than the training is refused when that begins.
    grid = "--grid=train.warmup=0,50"
    found, said = sweep(tmp_path, grid, "--markdown", str(tmp_path / "sweep.md"), code=1)
    good, bad = found["rows"]
    assert len(good["runs"]) == 1
    assert good["validation"]["mean"] == pytest.approx(good["validation"]["values"][0])
    assert good["trained_parameters"] > 0
    assert good["minutes"] > 0
    assert 0.1 < good["peak_memory_gb"] < 10
    assert bad["runs"] == []
    assert "warmup" in bad["failed"][0]
    assert "failed: warmup=50, seed 123" in said

    parent = found["run_id"]
    names = [name.rpartition(" ")[0] for name in under(parent)]
    assert sorted(names) == ["spam-demo-limit-300 warmup=0 seed=123", "spam-demo-limit-300 warmup=50 seed=123"]
    assert sorted(under(parent).values()) == ["FAILED", "FINISHED"]
    assert {len(steps(name)) for name in ("download", "validate", "split")} == {1}
    assert steps("fine_tune") == []  # of which nothing is kept but figures
    files = {file.path for file in client().list_artifacts(parent)}
    assert {"sweep.json", "table.json", "sweep.html", "sweep.md", "plots"} <= files
    assert "warmup=50" in (tmp_path / "sweep.md").read_text()

    repeated, said = sweep(tmp_path, grid, "--seeds=2", code=1)
    assert "1 of 4 runs have finished before" in said
    assert repeated["run_id"] == parent
    assert repeated["rows"][0]["runs"][0] == good["runs"][0]
    assert len(repeated["rows"][0]["runs"]) == 2
    assert sorted(under(parent).values()) == ["FAILED", "FAILED", "FAILED", "FINISHED", "FINISHED"]
    assert client().get_run(parent).info.status == "FINISHED"
    assert len(steps("split")) == 1


def test_runs_whose_file_has_changed_are_made_again(tmp_path: Path) -> None:
    file, other = tmp_path / "messages.tsv", tmp_path / "other.tsv"
    sample = load_config("spam-demo").source  # type: ignore[attr-defined]
    rows = pd.read_parquet(download.without_prefect(sample).path("table.parquet"))[["label", "text"]]
    for path, some in ((file, rows[:600]), (other, rows[600:1200])):
        some.to_csv(path, sep="\t", header=False, index=False, quoting=3)
    options = ["--grid=train.warmup=0", f"--set=source.url={file}", "--set=source.sha256=null"]
    first, _ = sweep(tmp_path, *options)
    again, said = sweep(tmp_path, *options)
    assert "1 of 1 runs have finished before" in said
    assert again["rows"][0]["runs"] == first["rows"][0]["runs"]

    other.replace(file)
    changed, said = sweep(tmp_path, *options)
    assert "1 of 1 runs are made again: their data has changed" in said
    (run,) = changed["rows"][0]["runs"]
    assert [run] != first["rows"][0]["runs"]
    assert list(under(changed["run_id"]).values()) == ["FINISHED", "FINISHED"]

    file.unlink()
    offline, _ = sweep(tmp_path, *options)
    assert offline["rows"][0]["runs"] == [run], "what cannot be looked at counts as it was"


def test_a_sweep_that_is_killed_or_interrupted_goes_on_when_it_is_repeated(tmp_path: Path) -> None:
    options = ["--grid=train.learning_rate=0.001,0.003,0.01"]
    killed = start(tmp_path, *options)
    wait_for("learning_rate=0.001, seed 123: done", killed)
    children = psutil.Process(killed.pid).children(recursive=True)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=PATIENCE)
    assert psutil.wait_procs(children, timeout=PATIENCE)[1] == []

    stopped = start(tmp_path, *options)
    wait_for("1 of 3 runs have finished before", stopped)
    wait_for("learning_rate=0.003, seed 123: done", stopped)
    stopped.send_signal(signal.SIGINT)
    _, said = stopped.communicate(timeout=PATIENCE)
    assert stopped.returncode == 130, said
    assert "Traceback" not in said
    (parent,) = {run.info.run_id for run in client().search_runs(["1"]) if "gradus.sweep" in run.data.tags}
    assert client().get_run(parent).info.status == "KILLED"

    found, said = sweep(tmp_path, *options)
    assert "2 of 3 runs have finished before" in said
    assert found["run_id"] == parent
    assert sorted(row["rank"] for row in found["rows"]) == [1, 2, 3]
    assert list(under(parent).values()).count("FINISHED") == 3


def test_optuna_proposes_rows_goes_on_and_two_are_run_at_once(tmp_path: Path) -> None:
    options = ["--range=train.learning_rate=0.0001..0.01:log", "--jobs=2"]
    first, _ = sweep(tmp_path, "--optuna=2", *options)
    assert len(first["rows"]) == 2
    more, said = sweep(tmp_path, "--optuna=3", *options)
    assert "2 of 3 trials were over before" in said
    assert more["run_id"] == first["run_id"]
    assert len(more["rows"]) == 3
    assert {row["name"] for row in first["rows"]} < {row["name"] for row in more["rows"]}
    assert len(under(more["run_id"])) == 3


def test_a_run_that_falls_behind_earlier_ones_is_stopped_while_it_trains(tmp_path: Path) -> None:
    rates, every = "train.learning_rate=0.000001..0.00001:log", 50
    key, _, text = rates.partition("=")
    # It would train for hours; trials that were always right stand before it.
    endless = {"train.max_steps": 1_000_000, "train.epochs": 1_000_000, "train.eval_every": every}
    common = dict(parse_set(each.removeprefix("--set=")) for each in TINY if each.startswith("--set="))
    changes = {"set": {**common, "source.limit": 300, **endless}, "ranges": {key: text}, "trials": STARTUP + 1}
    plan = Plan(load_sweep("spam-demo", changes))
    with open_parent(plan, plan.prepare(here=True).config, print) as parent:
        pass
    search = Search(plan.sweep, parent.run_id, home() / SWEEPS / plan.identity, maximize=True)
    points = dict.fromkeys(range(0, 5000, every), 1.0)
    rate = {key: FloatDistribution(1e-6, 1e-5, log=True)}
    for number in range(1, STARTUP + 1):
        params = {key: 1e-6 * number}
        trial = create_trial(value=1.0, params=params, distributions=rate, intermediate_values=points)
        search.study.add_trial(trial)
    sets = [f"--set={name}={value}" for name, value in endless.items()]
    # The exit code is 1, since the earlier trials have left no runs.
    found, _ = sweep(tmp_path, f"--optuna={STARTUP + 1}", f"--range={rates}", *sets, code=1)
    assert found["run_id"] == parent.run_id
    (stopped,) = [row for row in found["rows"] if row["pruned"]]
    assert stopped["failed"] == []
    assert list(under(found["run_id"]).values()) == ["KILLED"]


def test_instructions_can_be_ranked_by_the_responses_to_their_validation_split(tmp_path: Path) -> None:
    options = ["--grid=train.mask_prompt=true,false", "--metric=validation/chrf", "--set=answer_validation=true"]
    tiny = ["--limit=200", "--set=train.max_steps=40", "--set=generation.max_new_tokens=4"]
    process = start(tmp_path, "--json", *options, *tiny, preset="instruct-demo")
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    found = json.loads(out)
    assert (found["metric"], found["test_metric"]) == ("validation/chrf", "test/chrf")
    assert all(0 <= row["validation"]["mean"] <= 100 for row in found["rows"])
    assert sorted(row["rank"] for row in found["rows"]) == [1, 2]


def test_a_dry_run_lists_rows_and_costs_and_trains_nothing(tmp_path: Path) -> None:
    found, _ = sweep(tmp_path, RATES, "--seeds=3", "--dry-run")
    assert [row["runs"] for row in found["rows"]] == [3, 3]
    assert all(row["seconds"] > 0 for row in found["rows"])
    assert all(row["trained_parameters"] > 0 for row in found["rows"])
    assert steps("fine_tune") == []
    assert not (home() / "mlflow.db").exists()
