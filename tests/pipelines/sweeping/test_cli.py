"""How `gradus sweep` refuses what cannot be run: in one line, before anything is trained."""

from pathlib import Path

import pytest

from components.core.home import home
from tests.pipelines.commands import gradus


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["spam-dem", "--grid", "train.epochs=1"], "no sweep or preset 'spam-dem', did you mean 'spam-demo'"),
        (["spam-demo"], "there is nothing to vary"),
        (["spam-demo", "--grid", "train.epochs"], "--grid 'train.epochs' is not KEY=VALUE,VALUE"),
        (["spam-demo", "--grid", "train.epoch=1"], "train.epoch: unknown key, did you mean 'epochs'"),
        (["spam-demo", "--optuna", "3"], "give ranges (--range)"),
        (["spam-demo", "--optuna", "3", "--range", "train.learning_rate"], "1e-5..1e-3:log"),
        (["spam-demo", "--range", "train.learning_rate=1e-5..1e-3"], "say how many trials (--optuna N)"),
        (["spam-demo", "--grid", "train.epochs=1", "--base", "smollm2"], "--base smollm2: there is no such base"),
        (["spam-demo", "--grid", "train.epochs=1", "--metric", "test/accuracy"], "metric"),
        (["spam-demo", "--grid", "train.epochs=1", "--set", "train"], "--set 'train' is not KEY=VALUE"),
        (["spam-demo", "--grid", "train.epochs=1", "--markdown", "nowhere/a.md"], "there is no folder nowhere"),
        (["spam-demo", "--grid", "train.epochs=1", "--markdown", "."], "--markdown .: this is a folder"),
        (["nowhere.yaml"], "nowhere.yaml: cannot be read"),
    ],
)
def test_what_cannot_be_run_is_one_line_and_leaves_nothing(arguments: list[str], message: str) -> None:
    done = gradus("sweep", *arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (home() / "mlflow.db").exists()


def test_the_presets_of_sweeps_are_listed() -> None:
    printed = gradus("presets").stdout
    assert all(name in printed for name in ("spam-demo", "seven-questions", "spam-experiments", "epochs-and-cost"))


def test_a_dry_run_lists_what_is_skipped_and_why(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(f"preset: spam-demo\nrows: [{{name: without weights, set: {{model.weights: {tmp_path}}}}}]\n")
    done = gradus("sweep", path, "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    assert '"runs":0' in done.stdout
    assert str(tmp_path) in done.stdout
