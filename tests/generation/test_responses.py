"""The step `respond`: what it writes, and that nothing of it is lost when it is stopped."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from components.conversations import Entry
from components.core.records import Facts
from components.core.store import Store
from components.generation import batched, cache
from components.generation.answers import answer, make_batches
from components.generation.config import GenerationConfig
from components.generation.responses import Journal, respond
from components.models.saved.language_model import save_gpt
from components.prompts import TEMPLATES, Template
from tests.generation.models import ENCODING, network

ROOT = Path(__file__).parents[2]
GPT = network(context=64)
TEMPLATE = TEMPLATES["completion"]
CPU = torch.device("cpu")
QUICK = GenerationConfig(max_new_tokens=12, batch_size=3, precision="fp32")


def write_entries(path: Path, count: int = 10, tasks: bool = True) -> pd.DataFrame:
    words = ["see", "you", "at", "five", "today", "🎁", "Grüße"]
    frame = pd.DataFrame(
        {
            "row": range(11, 11 + count),
            "instruction": [" ".join(words[number % 7 :]) + f" {number}" for number in range(count)],
            "input": [words[number % 5] if number % 3 == 0 else "" for number in range(count)],
            "output": [f"answer\n{number} 🎁" for number in range(count)],
        }
    )
    if tasks:
        frame["task"] = [None if number % 4 == 0 else "plural" for number in range(count)]
    frame.to_parquet(path, index=False)
    return frame


def run(folder: Path, out: Path, config: GenerationConfig = QUICK, template: Template = TEMPLATE) -> Facts:
    out.mkdir(exist_ok=True)
    return respond(folder / "entries.parquet", GPT, ENCODING, template, config, CPU, out)


@pytest.mark.ci
def test_responses_stand_beside_their_entries_in_the_order_of_the_split(tmp_path: Path) -> None:
    frame = write_entries(tmp_path / "entries.parquet")
    facts = run(tmp_path, tmp_path / "out")
    found = pd.read_parquet(tmp_path / "out/responses.parquet")
    columns = ["row", "instruction", "input", "output", "task"]
    pd.testing.assert_frame_equal(found[columns], frame)
    assert list(found.columns) == [*columns, "model_response", "new_tokens", "stopped"]
    expected = answer(GPT, ENCODING, TEMPLATE, map(Entry, frame["instruction"], frame["input"]), QUICK)
    assert found["model_response"].tolist() == [each.response for each in expected]
    assert found["new_tokens"].tolist() == [each.new_tokens for each in expected]
    assert found["stopped"].tolist() == [each.stopped for each in expected]
    assert found["model_response"].nunique() > 5
    assert facts == {
        "rows": 10,
        "stopped": {why: int((found["stopped"] == why).sum()) for why in ("end", "marker", "length", "no_room")},
        "empty": int((found["model_response"] == "").sum()),
        "new_tokens": int(found["new_tokens"].sum()),
        "cut_conversations": 0,
        "device": "cpu",
        "precision": "fp32",
    }
    assert pq.read_schema(tmp_path / "out/responses.parquet").field("new_tokens").type == "int64"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "instruction-data-with-response.json",
        "responses.parquet",
    ]


def test_the_json_file_is_that_of_the_tutorial(tmp_path: Path) -> None:
    write_entries(tmp_path / "entries.parquet", 4)
    run(tmp_path, tmp_path / "out")
    text = (tmp_path / "out/instruction-data-with-response.json").read_text(encoding="utf-8")
    entries = json.loads(text)
    assert [list(entry) for entry in entries] == [["instruction", "input", "output", "model_response"]] * 4
    assert [entry["output"] for entry in entries] == [f"answer\n{number} 🎁" for number in range(4)]
    assert text.startswith('[\n    {\n        "instruction": "see you at five today 🎁 Grüße 0",\n')
    assert "🎁" in text


def test_a_split_without_tasks_and_one_without_rows(tmp_path: Path) -> None:
    write_entries(tmp_path / "entries.parquet", 2, tasks=False)
    run(tmp_path, tmp_path / "out")
    assert "task" not in pd.read_parquet(tmp_path / "out/responses.parquet")
    write_entries(tmp_path / "entries.parquet", 0, tasks=False)
    facts = run(tmp_path, tmp_path / "none")
    assert (facts["rows"], facts["new_tokens"]) == (0, 0)
    assert json.loads((tmp_path / "none/instruction-data-with-response.json").read_text()) == []
    assert len(pd.read_parquet(tmp_path / "none/responses.parquet")) == 0


def test_a_prompt_without_room_has_an_empty_response_and_is_counted(tmp_path: Path) -> None:
    frame = write_entries(tmp_path / "entries.parquet", 3)
    frame.loc[1, "instruction"] = "see you at five " * 60
    frame.to_parquet(tmp_path / "entries.parquet", index=False)
    facts = run(tmp_path, tmp_path / "out")
    found = pd.read_parquet(tmp_path / "out/responses.parquet")
    assert found.loc[1, ["model_response", "new_tokens", "stopped"]].tolist() == ["", 0, "no_room"]
    assert facts["stopped"]["no_room"] == 1
    assert found["stopped"].tolist().count("no_room") == 1


def test_a_response_is_cut_at_the_templates_stop(tmp_path: Path) -> None:
    frame = write_entries(tmp_path / "entries.parquet", 5)
    run(tmp_path, tmp_path / "whole")
    whole = pd.read_parquet(tmp_path / "whole/responses.parquet")["model_response"]
    said = next(text for text in whole if len(text) > 12 and text[4:6].strip() and "\ufffd" not in text[:7])
    template = TEMPLATE.model_copy(update={"stop": [said[4:6]]})
    facts = run(tmp_path, tmp_path / "cut", template=template)
    cut = pd.read_parquet(tmp_path / "cut/responses.parquet")
    assert facts["stopped"]["marker"] >= 1
    for before, after, stopped in zip(whole, cut["model_response"], cut["stopped"], strict=True):
        assert stopped == ("marker" if said[4:6] in before else "length")
        assert after == before.partition(said[4:6])[0].strip()
    assert len(frame) == len(cut)


def test_batches_hold_every_prompt_once_and_those_of_like_length_together() -> None:
    lengths = [3, 9, 1, 9, 4, 7, 2]
    batches = list(make_batches([[0] * length for length in lengths], 3))
    assert batches == [[1, 3], [5, 4], [0, 6, 2]], "batches are as large as each other"
    assert list(make_batches([], 3)) == []


class Interrupted:
    """Counts the batches that are begun, and interrupts at the beginning of one."""

    def __init__(self, at: int, error: BaseException | None = None) -> None:
        self.count, self.at, self.error = 0, at, error

    def __enter__(self) -> "Interrupted":
        begun = self

        class Reader(cache.Reader):
            def __init__(self, *arguments: Any) -> None:
                begun.one_more()
                super().__init__(*arguments)

        self.patched = pytest.MonkeyPatch()
        self.patched.setattr(batched, "Reader", Reader)
        return self

    def __exit__(self, *_: object) -> None:
        self.patched.undo()

    def one_more(self) -> None:
        self.count += 1
        if self.count == self.at:
            if self.error:
                raise self.error
            signal.raise_signal(signal.SIGINT)


@pytest.mark.ci
@pytest.mark.usefixtures("heeded")
@pytest.mark.parametrize("error", [None, RuntimeError("out of memory")], ids=["Ctrl-C", "an error"])
@pytest.mark.parametrize("drawn", [False, True])
def test_it_goes_on_as_if_it_had_not_been_stopped(tmp_path: Path, error: BaseException | None, drawn: bool) -> None:
    config = QUICK.model_copy(update={"temperature": 1.0}) if drawn else QUICK
    write_entries(tmp_path / "entries.parquet")
    expected = run(tmp_path, tmp_path / "whole", config)
    store = Store(tmp_path / "store")
    with Interrupted(at=3, error=error), pytest.raises(BaseException) as caught:  # noqa: PT011
        store.produce("respond", "k", lambda out: run(tmp_path, out, config))
    outcome = "failed" if error else "interrupted"
    assert caught.value.evidence == tmp_path / f"store/respond/k.{outcome}"  # type: ignore[attr-defined]
    with Interrupted(at=0) as second:
        manifest = store.produce("respond", "k", lambda out: run(tmp_path, out, config))
    assert second.count == 4 - 2, "two batches of four were done"
    assert manifest.facts == expected
    assert set(manifest.files) == {"responses.parquet", "instruction-data-with-response.json"}
    for name in manifest.files:
        assert (manifest.folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_stopped_before_the_first_batch_leaves_nothing(tmp_path: Path) -> None:
    write_entries(tmp_path / "entries.parquet")
    store = Store(tmp_path / "store")
    with Interrupted(at=1, error=RuntimeError("no")), pytest.raises(RuntimeError) as caught:
        store.produce("respond", "k", lambda out: run(tmp_path, out))
    assert not hasattr(caught.value, "evidence")
    assert not list((tmp_path / "store/respond").glob("k*"))


@pytest.mark.parametrize("harm", ["half a line", "junk", "another identity", "half a batch", "not UTF-8", "empty"])
def test_what_is_damaged_is_done_again_and_no_more(tmp_path: Path, harm: str) -> None:
    write_entries(tmp_path / "entries.parquet", 12)
    expected = run(tmp_path, tmp_path / "whole")
    with Interrupted(at=3, error=RuntimeError("no")), pytest.raises(RuntimeError):
        run(tmp_path, tmp_path / "out")
    journal = tmp_path / "out/checkpoint/responses.jsonl"
    lines = journal.read_bytes().split(b"\n")
    assert len(lines) == 1 + 6 + 1
    assert all(json.loads(line)["response"] is not None for line in lines[1:-1])
    done = {
        "half a line": (b"\n".join(lines[:-2]) + b"\n" + lines[-2][:-9], 1),
        "junk": (b"\n".join([*lines[:3], b'{"row": 3}', *lines[4:]]), 1),
        "another identity": (b"\n".join([b'{"identity": "x"}', *lines[1:]]), 0),
        "half a batch": (b"\n".join([*lines[:-3], b""]), 1),
        "not UTF-8": (b"\n".join([*lines[:-2], b"\xff\xfe"]), 1),
        "empty": (b"", 0),
    }
    content, kept = done[harm]
    journal.write_bytes(content)
    with Interrupted(at=0) as again:
        assert run(tmp_path, tmp_path / "out") == expected
    assert again.count == 4 - kept
    for name in ("responses.parquet", "instruction-data-with-response.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.ci
def test_other_options_begin_anew(tmp_path: Path) -> None:
    write_entries(tmp_path / "entries.parquet")
    with Interrupted(at=3, error=RuntimeError("no")), pytest.raises(RuntimeError):
        run(tmp_path, tmp_path / "out")
    longer = QUICK.model_copy(update={"max_new_tokens": 14})
    with Interrupted(at=0) as again:
        run(tmp_path, tmp_path / "out", longer)
    assert again.count == 4


def test_a_journal_is_begun_again_where_it_was(tmp_path: Path) -> None:
    from components.generation.answers import Answer

    path = tmp_path / "checkpoint/responses.jsonl"
    journal = Journal(path, "a")
    journal.add({3: Answer("line\u2028 \n two", 4, "end"), 1: Answer("", 0, "no_room")})
    assert Journal(path, "a").answers == journal.answers
    assert Journal(path, "b").answers == {}
    assert Journal(path, "a").answers == {}


def start(home: Path, stay_in: int = -1) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", "from tests.generation.interrupted import main; import sys, pathlib; "
               "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
               "main(pathlib.Path(sys.argv[1]), int(sys.argv[2]))", str(home), str(stay_in)]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, env=environment, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.ci)])
def test_a_process_that_is_stopped_loses_one_batch_at_most(tmp_path: Path, how: signal.Signals) -> None:
    from tests.generation.interrupted import CONFIG

    write_entries(tmp_path / "entries.parquet", 40)
    (tmp_path / "model").mkdir()
    save_gpt(tmp_path / "model", GPT, ENCODING, TEMPLATE)
    first = start(tmp_path, stay_in=4)
    assert first.stdout
    for _ in range(4):
        assert first.stdout.readline() == "batch\n"
    first.send_signal(how)
    assert first.communicate()[0] == ""
    assert first.returncode != 0
    second = start(tmp_path)
    said, errors = second.communicate()
    assert second.returncode == 0, errors
    facts = json.loads(said.splitlines()[-1])
    assert said.count("batch") == 7, "three of ten were done, and the one that was cut is done again"
    expected = run(tmp_path, tmp_path / "whole", CONFIG)
    assert facts == expected
    for name in ("responses.parquet", "instruction-data-with-response.json"):
        assert (tmp_path / "store/respond/k" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not [path for path in (tmp_path / "store/respond").iterdir() if path.is_dir() and path.name != "k"]


@pytest.mark.ci
def test_the_bar_counts_rows_and_tokens_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_entries(tmp_path / "entries.parquet")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    reader, writer = pty.openpty()
    shown = bytearray()
    listener = threading.Thread(target=listen, args=(reader, shown))
    listener.start()
    with open(writer, "w", encoding="utf-8") as terminal, monkeypatch.context() as patched:  # noqa: PTH123
        patched.setattr(sys, "stderr", terminal)
        tokens = run(tmp_path, tmp_path / "out")["new_tokens"]
    listener.join()
    os.close(reader)
    for text in ("respond", "10/10", f"{tokens} tokens"):
        assert text in shown.decode(errors="replace")


def listen(terminal: int, shown: bytearray) -> None:
    """Take what a terminal is sent, until nobody sends any more."""
    with contextlib.suppress(OSError):
        while piece := os.read(terminal, 4096):
            shown += piece
