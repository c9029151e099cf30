"""The command `gradus`, as a process: what it prints, where, and how it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from components.core.home import home
from components.models.saved.classifier import load_classifier
from pipelines.run import RunSummary
from tests.patience import PATIENCE
from tests.pipelines import classifying, commands

GRADUS = [sys.executable, "-c", "from pipelines.cli.start import main; main()"]
HEED = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
ROOT = Path(__file__).parents[3]
TINY = [
    "--set=model.size={layers: 1, heads: 1, width: 16, context: 128}",
    "--set=train.eval_batches=2",
    "--set=tracking.system_metrics=false",
]


def gradus(*arguments: str, env: dict[str, str] | None = None, stdin: str | None = None):
    environment = env or {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*GRADUS, *arguments], env=environment, input=stdin, capture_output=True, text=True, timeout=PATIENCE
    )


@pytest.mark.ci
def test_a_run_and_predictions(environment: dict[str, str], tmp_path: Path) -> None:
    done = gradus("run", "spam-demo", *TINY, "--set=train.max_steps=3", "--json", env=environment)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result.keys() == {"run_id", "status", "metrics", "model_uri", "cached_steps", "waits_for_sync", "spent"}
    assert (result["status"], result["cached_steps"]) == ("FINISHED", [])
    assert "split: done in" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Finished in state" not in done.stderr

    messages = tmp_path / "messages.txt"
    messages.write_text("hello there\nYou won [bold]a prize[/bold]\n\n")
    by_run = commands.gradus("predict", result["run_id"], "--file", messages, "--json")
    assert by_run.returncode == 0, by_run.stderr
    rows = [json.loads(line) for line in by_run.stdout.splitlines()]
    assert [row["text"] for row in rows] == ["hello there", "You won [bold]a prize[/bold]", ""]
    assert all(row["p_ham"] + row["p_spam"] == pytest.approx(1) for row in rows[:2])
    assert rows[2]["label"] is None  # a blank line is no text
    table = tmp_path / "messages.csv"  # with a header, which the file that was learnt from has not
    table.write_text('label,text\nham,"hello there"\n')
    by_table = commands.gradus("predict", result["run_id"], "--file", table, "--json")
    found = json.loads(by_table.stdout)
    assert (found["text"], found["label"]) == (rows[0]["text"], rows[0]["label"])
    assert found["p_spam"] == pytest.approx(rows[0]["p_spam"], abs=1e-5)
    piped = commands.gradus("predict", result["model_uri"], "-", "--json", stdin=messages.read_text())
    assert piped.stdout == by_run.stdout
    shown = commands.gradus("predict", "models:/spam-demo@candidate", "You won [bold]a prize[/bold]")
    assert "[bold]a prize[/bold]" in shown.stdout


@pytest.mark.ci
def test_an_unchanged_run_says_so(environment: dict[str, str], finished: RunSummary) -> None:
    again = gradus("run", "spam-demo", *(f"--set={each}" for each in classifying.TINY), env=environment)
    assert again.returncode == 0
    assert again.stderr.count("unchanged, taken from the store") == 6
    assert f"nothing has changed since run {finished.run_id}" in again.stderr
    assert "average precision" in again.stdout


@pytest.mark.ci
def test_rejected_data_exits_with_3_and_shows_the_rows(environment: dict[str, str]) -> None:
    done = gradus(
        "run", "spam-demo", *TINY, "--set=validation.text_not_blank.severity=error", "--json", env=environment
    )
    assert done.returncode == 3
    assert json.loads(done.stdout)["status"] == "FAILED"
    assert "text_not_blank" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("all of them, and the report: ")
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "name"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "kill")])
def test_an_interrupted_run_is_killed_and_exits_with_130(
    environment: dict[str, str], sent: signal.Signals, name: str
) -> None:
    endless = ["--set=train.epochs=1000", "--set=train.checkpoint_minutes=1e-9"]
    command = [*GRADUS, "run", "spam-demo", *TINY, *endless, "--json"]
    # A shell starts what runs in its background with SIGINT ignored, and the tests may run there.
    command = [sys.executable, "-c", HEED + command[2], *command[3:]]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + PATIENCE
        # The first checkpoint comes after a step; while torch is still being imported, an interruption may be swallowed
        # by code that is not ours.
        while not any((home() / "store").glob("fine_tune/.*/checkpoint/*")) and time.monotonic() < deadline:
            time.sleep(0.2)
        process.send_signal(sent)
        try:
            stdout, stderr = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == 130, stderr
    assert json.loads(stdout)["status"] == "KILLED"
    assert "gradus: interrupted" in stderr
    assert "Traceback" not in stderr
    # What was learned so far is kept, and can be used.
    (kept,) = (home() / "store/fine_tune").glob("*.interrupted")
    assert f"the model so far: {kept}/model" in stderr.splitlines()[-1]
    (checkpoint,) = (kept / "checkpoint").iterdir()
    steps = len(pd.read_parquet(checkpoint / "steps.parquet"))
    assert steps > 0
    assert set(load_classifier(kept / "model").predict(["hello there"])["label"]) <= {"ham", "spam"}
    client = MlflowClient(f"sqlite:///{home()}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("spam-demo").experiment_id])
    assert run.info.status == "KILLED"
    assert run.data.tags["gradus.evidence"] == str(kept)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "spam-demoo"], "there is no preset 'spam-demoo', did you mean 'spam-demo'?"),
        (["run", "spam-demo", "--set", "train.epoch=3"], "train.epoch: unknown key, did you mean 'epochs'?"),
        (["show", "spam", "--set", "train.epochs=0"], "train.epochs: Input should be greater than or equal to 1"),
        (["predict", "models:/nothing/1"], "there is no text to classify"),
        (["predict", "models:/nothing/1", "--file", "nowhere.txt"], "cannot read nowhere.txt"),
        (["run"], "Missing argument"),
        (["fly"], "No such command"),
    ],
)
def test_bad_usage_exits_with_2_before_anything_starts(arguments: list[str], message: str) -> None:
    done = commands.gradus(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stdout == ""
    assert not home().exists()


def test_a_model_that_is_not_there_exits_with_1() -> None:
    done = commands.gradus("predict", "models:/nothing@candidate", "hello")
    assert done.returncode == 1
    assert done.stderr.startswith("gradus: there is no registered model models:/nothing@candidate")


def test_show_and_presets() -> None:
    shown = commands.gradus("show", "spam", "--set", "train.epochs=3")
    assert "epochs: 3" in shown.stdout
    listed = commands.gradus("presets")
    assert all(name in listed.stdout for name in ("spam ", "spam-book", "spam-demo"))


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["predict", "-h"]])
def test_help_has_examples(arguments: list[str]) -> None:
    assert "gradus " in commands.gradus(*arguments).stdout


@pytest.mark.ci
def test_debug_shows_the_traceback() -> None:
    assert "Traceback" in gradus("run", "nothing", "--debug").stderr


@pytest.mark.ci
def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['gradus', '--help']\n"
        "from pipelines.cli.main import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'mlflow', 'prefect', 'pandas', 'great_expectations', 'pydantic', 'requests', 'numpy'}\n"
        "print(sorted(heavy & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr.strip() == "[]"
