"""`gradus predict` and `respond` with --output: a call that was killed goes on, and an output is whole or absent."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from typer.testing import CliRunner, Result

from components.core.errors import ConfigError
from components.data.asked import TextSource
from pipelines.asking import Asked
from pipelines.cli.main import app
from tests.patience import PATIENCE

ROOT = Path(__file__).parents[3]
ROWS = 40
KINDS = {"label": pa.string(), "probability": pa.float64()}


class Killed(BaseException):
    """The process ends."""


class Model:
    """Answers with the number of the row, and dies once it has been asked so many rows."""

    def __init__(self, dies_after: int = 10**9) -> None:
        self.asked: list[str] = []
        self.dies_after = dies_after

    def __call__(self, texts: Mapping[str, list[str]], first: int) -> dict[str, list[Any]]:
        if len(self.asked) >= self.dies_after:
            raise Killed
        self.asked += texts["text"]
        numbers = range(first, first + len(texts["text"]))
        return {"label": [f"{number}" for number in numbers], "probability": [number / 7 for number in numbers]}


def table(folder: Path, kind: str) -> Path:
    path = folder / f"new.{kind}"
    frame = pd.DataFrame({"text": [f"text {number}" for number in range(ROWS)], "id": range(ROWS)})
    frame.loc[5, "text"] = ""
    if kind == "parquet":
        frame.to_parquet(path)
    elif kind == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_csv(path, index=False)
    return path


def ask(file: Path, out: Path, model: Model, identity: str = "a model") -> Asked:
    asked = Asked(TextSource, file, {}, [], out)
    for _ in asked.answers(None, model, KINDS, identity, at_once=8):
        pass
    return asked


@pytest.mark.parametrize("given", ["csv", "jsonl", "parquet"])
def test_no_more_rows_are_asked_than_are_wanted(tmp_path: Path, given: str) -> None:
    model = Model()
    asked = Asked(TextSource, table(tmp_path, given), {}, [], None)
    found = [len(read) for read, _ in asked.answers(None, model, KINDS, at_once=4, most=9)]
    assert sum(found) == 9
    assert len(model.asked) == 8, "one of them has no text"


@pytest.mark.ci
@pytest.mark.parametrize("given", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("wanted", ["csv", "json", "jsonl", "parquet"])
def test_it_goes_on_where_it_was_and_writes_what_one_call_would(tmp_path: Path, given: str, wanted: str) -> None:
    file, out, whole = table(tmp_path, given), tmp_path / f"out.{wanted}", tmp_path / f"whole.{wanted}"
    ask(file, whole, Model())
    first, second = Model(dies_after=16), Model()
    with pytest.raises(Killed) as stopped:
        ask(file, out, first)
    assert not out.exists()
    assert stopped.value.evidence == tmp_path / f".out.{wanted}.partial"  # type: ignore[attr-defined]
    assert ask(file, out, second).partial.rows == 16  # type: ignore[union-attr]
    assert len(first.asked) + len(second.asked) == ROWS - 1
    assert not set(first.asked) & set(second.asked)
    assert out.read_bytes() == whole.read_bytes() or wanted == "parquet"
    if wanted == "parquet":
        pd.testing.assert_frame_equal(pd.read_parquet(out), pd.read_parquet(whole))
    assert not list(tmp_path.glob(".*"))


def test_what_is_other_is_asked_anew(tmp_path: Path) -> None:
    file, out = table(tmp_path, "csv"), tmp_path / "out.csv"

    def stop_after(rows: int) -> None:
        with pytest.raises(Killed):
            ask(file, out, Model(dies_after=rows))

    stop_after(24)
    assert ask(file, out, other := Model(), identity="another model").partial.rows == 0  # type: ignore[union-attr]
    assert len(other.asked) == ROWS - 1
    stop_after(24)
    file.write_text(file.read_text().replace("text 20", "another text"))
    assert ask(file, out, changed := Model()).partial.rows == 16  # type: ignore[union-attr]
    assert "another text" in changed.asked
    stop_after(24)
    partial = tmp_path / ".out.csv.partial"
    partial.write_bytes(partial.read_bytes()[:-9])  # a line that is only half there
    assert ask(file, out, Model()).partial.rows == 16  # type: ignore[union-attr]
    assert pd.read_csv(out)["label"].dropna().tolist() == list(range(ROWS - 1))


def test_two_calls_do_not_write_one_output(tmp_path: Path) -> None:
    file, out = table(tmp_path, "csv"), tmp_path / "out.csv"
    answers = Asked(TextSource, file, {}, [], out).answers(None, Model(), KINDS, "a model", 8)
    next(answers)
    with pytest.raises(ConfigError, match=r"out\.csv: another call is writing it"):
        ask(file, out, Model())
    list(answers)
    assert len(pd.read_csv(out)) == ROWS


def test_a_file_that_is_refused_leaves_nothing(tmp_path: Path) -> None:
    file = tmp_path / "new.jsonl"
    file.write_text('{"text": "a"}\n' * 20 + '{"text": ["b"]}\n')
    with pytest.raises(ConfigError, match="record 21 holds a list"):
        ask(file, tmp_path / "out.csv", Model())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.jsonl"]


def gradus(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


@pytest.mark.one_case
@pytest.mark.parametrize("command", ["predict", "respond"])
def test_both_commands_go_on_and_say_so(
    command: str, saved_model: Path, saved_language_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = saved_model if command == "predict" else saved_language_model
    field = "text" if command == "predict" else "instruction"
    file, out, whole = tmp_path / "new.jsonl", tmp_path / "out.jsonl", tmp_path / "whole.jsonl"
    file.write_text("".join(json.dumps({field: f"text {number}"}) + "\n" for number in range(20)))
    options = ["--max-new-tokens=5", "--temperature=1", "--batch-size=2"] if command == "respond" else []
    monkeypatch.setattr("pipelines.cli.using.respond.AT_ONCE", 2)
    monkeypatch.setattr("pipelines.asking.AT_ONCE", 2)
    assert gradus(command, model, "--file", file, "-o", whole, *options).exit_code == 0
    stop = _stop_after(4, monkeypatch)
    done = gradus(command, model, "--file", file, "-o", out, *options)
    assert (done.exit_code, out.exists()) == (130, False)
    assert f"the next run goes on from here\nwhat was done so far: {tmp_path}/.out.jsonl.partial" in done.stderr
    stop()
    done = gradus(command, model, "--file", file, "-o", out, *options)
    assert done.exit_code == 0, done.stderr
    assert "an earlier call had answered 8 of the rows; this one went on after them" in done.stderr
    assert out.read_bytes() == whole.read_bytes()


def _stop_after(lines: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let Ctrl-C come when so many answers are kept; return what lets all be as it was."""
    from components.data.partial import Partial

    answered, left = Partial.answered, [None] * lines

    def interrupted(this: Partial, asked: Any, answer: Any) -> Any:
        if not left:
            raise KeyboardInterrupt
        left.pop()
        return answered(this, asked, answer)

    patch = pytest.MonkeyPatch()
    patch.setattr(Partial, "answered", interrupted)
    return patch.undo


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_process_that_is_killed_is_gone_on_with(
    saved_language_model: Path, tmp_path: Path, how: signal.Signals
) -> None:
    file, out = tmp_path / "new.txt", tmp_path / "out.csv"
    file.write_text("".join(f"say {number}\n" for number in range(600)))
    command = [
        sys.executable,
        "-c",
        "from pipelines.cli.start import main; main()",
        "respond",
        str(saved_language_model),
    ]
    options = ["--file", str(file), "--output", str(out), "--max-new-tokens=40", "--precision=fp32"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([*command, *options], env=environment, stderr=subprocess.PIPE, text=True)
    partial = tmp_path / ".out.csv.partial"
    while not partial.is_file() or partial.read_bytes().count(b"\n") < 2:
        assert process.poll() is None
    process.send_signal(how)
    process.communicate(timeout=PATIENCE)
    assert process.returncode != 0
    assert partial.is_file()
    assert not out.exists()
    again = subprocess.run([*command, *options], env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert again.returncode == 0, again.stderr
    assert "an earlier call had answered" in again.stderr
    assert len(pd.read_csv(out)) == 600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.txt", "out.csv"]
