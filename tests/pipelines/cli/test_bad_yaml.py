"""YAML that would never end, as a preset and as an option: one line of a sane length, and exit code 2."""

from pathlib import Path
from subprocess import CompletedProcess

import pytest

from components.core.errors import ConfigError, JudgeError
from pipelines.config import load_config
from pipelines.judging import judge_config
from tests.pipelines.commands import gradus
from tests.yaml_bomb import BOMB

FLOW_BOMB = "{" + ", ".join(line for line in BOMB.splitlines()) + "}"


def one_line(done: CompletedProcess[str]) -> str:
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert len(done.stderr) < 1100
    return done.stderr


def test_a_preset_that_is_a_bomb(tmp_path: Path) -> None:
    path = tmp_path / "bomb.yaml"
    path.write_text(f"description: bomb\n{BOMB}")
    told = one_line(gradus("check", str(path)))
    assert f"gradus: {path}: not valid YAML: it has more than 20,000 values, counting what each alias" in told
    path.write_text("[" * 100_000)
    assert "nested deeper than 50 levels" in one_line(gradus("show", str(path)))
    path.write_bytes(b"# " + b"x" * 3_000_000)
    assert "larger than 1 MiB" in one_line(gradus("show", str(path)))


def test_an_option_that_is_a_bomb() -> None:
    told = one_line(gradus("show", "spam", f"--set=validation={FLOW_BOMB}"))
    assert "--set validation: '{a: &a [x, x" in told
    assert "more than 20,000 values" in told
    with pytest.raises(ConfigError, match=r"--set judge\.model: .*more than 20,000 values"):
        judge_config({"kind": "ollama"}, [f"judge.model={FLOW_BOMB}"])
    told = one_line(gradus("generate", "random", "hello", "--size", FLOW_BOMB))
    assert "--size {a: &a" in told
    assert "more than 20,000 values" in told


@pytest.mark.ci
def test_a_long_value_is_shown_by_its_beginning_and_its_end() -> None:
    told = one_line(gradus("show", "spam", f"--set=train.epochs={'[1, 2], ' * 3000}".replace("=[", "=[[") + "[9]]"))
    assert told.startswith("gradus: spam: train.epochs: Input should be a valid integer (it is [[1, 2], ")
    assert told.endswith("[1, 2], [9]])\n")
    assert "more characters] ..." in told


def test_many_mistakes_are_cut_too(tmp_path: Path) -> None:
    path = tmp_path / "many.yaml"
    path.write_text("".join(f"key{number}: 1\n" for number in range(5000)))
    done = gradus("show", str(path))
    assert done.returncode == 2
    assert 40 < done.stderr.count("\n") < 60
    assert "more lines" in done.stderr


def test_a_key_that_is_there_twice_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text("source:\n  url: a.csv\ntrain:\n  epochs: 1\n  epochs: 2\n")
    with pytest.raises(
        ConfigError, match=r"twice\.yaml: .*the key 'epochs' is there twice, first in line 4 \(line 5, "
    ):
        load_config(str(path))
    with pytest.raises(ConfigError, match=r"--set source\.columns: .*'text' is there twice"):
        load_config("spam", ["source.columns={text: 0, text: 1}"])


def test_a_runs_own_config_is_read_with_the_same_bounds(tmp_path: Path) -> None:
    from pipelines.comparing.answered import recorded_config

    path = tmp_path / "config.yaml"
    path.write_text(BOMB)
    with pytest.raises(JudgeError, match=r"config\.yaml cannot be read: it has more than 20,000 values"):
        recorded_config(path)
