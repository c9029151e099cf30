"""A preset's run through the product's own door, `gradus run`, and what it left in MLflow.

A run goes on from what an earlier one has left in the store, so that a call that was killed costs little.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pandas as pd

from benchmarks.machine import Machine
from benchmarks.quality.outcomes import METRIC, OURS, UNTOUCHED, Cost, Outcome, Outcomes
from components.core.home import home
from components.judging.lexical import measure
from components.models.devices import pick_device, pick_precision
from components.tracking.reading import PREDICTIONS, RESPONSES, RecordedRun, artifacts_of, find_run

ROOT = Path(__file__).parents[2]
GRADUS = (sys.executable, "-c", "from pipelines.cli.start import main; main()")
GONE_ON = "fine_tune: going on from step"
"""What a run says that takes up a training which was stopped."""
BASELINES = ("tfidf", "svm")
"""Columns of a classifier's predictions: the labels that the baselines give."""


class Failed(Exception):
    """A command failed; the message is the last line that it wrote."""


@dataclass(frozen=True)
class Ran:
    """What a process wrote, the most memory that it held, and where it ran."""

    output: str
    said: str
    """On standard error."""
    peak_gb: float
    machine: Machine
    busy: bool

    def cost(self, minutes: float | None, trained: bool) -> Cost:
        """Return what a training in it took; the memory is unknown where it only read what an earlier one left."""
        return Cost(
            minutes=minutes,
            peak_gb=self.peak_gb if trained else None,
            cpu=self.machine.name,
            precision=pick_precision("auto", pick_device("auto")),  # presets leave both to the machine
            busy=self.busy,
        )


def run_process(*command: str) -> Ran:
    """Run a command to its end; what it says goes to standard error as it comes.

    Raises:
        Failed: if its exit status is not zero.
    """
    before = Machine.this()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        said = ""
        for line in process.stderr:
            sys.stderr.write(line)
            said += line
        output = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise Failed(said.strip().rpartition("\n")[2])
    # The mean of a quarter of an hour, in which this process had every core.
    busy = before.is_busy or os.getloadavg()[2] > 1.2 * before.cores
    return Ran(output, said, used.ru_maxrss * 1024 / 1e9, before, busy)


def run_preset(preset: str, seed: int) -> Outcomes:
    """Run a preset with a seed of its training, and return its outcome, and those that it was measured beside.

    Raises:
        Failed: if the run fails, as where its data or a package with weights is missing.
    """
    ran = run_process(*GRADUS, "run", preset, "--set", f"train.seed={seed}", "--json")
    summary = json.loads(ran.output)
    run = find_run(summary["run_id"], home())
    found = _read(preset, run)
    ours = found.by(OURS)[0]
    ours.seed = seed
    ours.trained_parameters = int(run.metrics["model/trained_parameters"])
    # The time of a training that was stopped is that of its last part.
    minutes = None if GONE_ON in ran.said else _minutes(run)
    ours.cost = ran.cost(minutes, trained="fine_tune" not in summary["cached_steps"])
    for each in found.outcomes:
        each.versions = ran.machine.versions
    return found


def _minutes(run: RecordedRun) -> float | None:
    """Return how long the run trained, or the one whose steps it took."""
    runs = [run, *([find_run(run.cached_from, home())] if run.cached_from else [])]
    seconds = [each.metrics["seconds/fine_tune"] for each in runs if "seconds/fine_tune" in each.metrics]
    return seconds[0] / 60 if seconds else None


def _read(preset: str, run: RecordedRun) -> Outcomes:
    with artifacts_of(run, (RESPONSES, PREDICTIONS), home()) as artifacts:
        answered = RESPONSES in artifacts
        frame = pd.read_parquet(artifacts[RESPONSES if answered else PREDICTIONS])
    rows = (frame if answered else frame[frame["split"] == "test"]).sort_values("row")
    values = _likeness(rows) if answered else _rightness(rows)
    found = Outcomes(
        preset=preset,
        metric=METRIC[run.pipeline],
        train_rows=int(run.metrics["data/rows_train"]),
        rows=rows["row"].tolist(),
    )
    today = date.today().isoformat()
    found.add([Outcome(who=who, values=each, day=today) for who, each in values.items()])
    return found


def _likeness(rows: pd.DataFrame) -> Mapping[str, list[float]]:
    """Return the chrF of every response, of the model after training and before."""
    answers = {OURS: rows["response"], UNTOUCHED: rows["start_response"]}
    return {who: chrf(texts.tolist(), rows["reference"].tolist()) for who, texts in answers.items()}


def chrf(responses: list[str], references: list[str]) -> list[float]:
    """Return the chrF (0 to 100) of each response against its reference, as the product measures it."""
    return [round(each.chrf, 3) for each in measure(list(zip(responses, references, strict=True)))]


def _rightness(rows: pd.DataFrame) -> Mapping[str, list[float]]:
    """Return 1 for every label that is right, else 0, of the model and of the baselines."""
    predicted = {OURS: rows["predicted"], **{name: rows[name] for name in BASELINES}}
    return {who: (labels == rows["label"]).astype(float).tolist() for who, labels in predicted.items()}
