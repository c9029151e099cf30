"""`gradus data prepare` and `gradus data read`: what is written can be read back, checked, and given to a service."""

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from components.data.split.folding import fold
from pipelines.config import load_config
from tests.pipelines.commands import gradus

SPLITS = ("train", "validation", "test")
NOUNS = ("anchor", "basket", "candle", "dagger", "engine", "feather", "garden", "hammer", "island", "jacket", "kettle")
VERBS = ("lift", "carry", "paint", "borrow", "polish", "deliver", "inspect")
TURNS = ("user", "assistant")


def messages() -> list[tuple[str, str]]:
    """Texts of which none is like another, with labels in turn."""
    pairs = [(noun, verb) for noun in NOUNS for verb in VERBS]
    return [(f"please {verb} the {noun} today", ("spam", "ham")[place % 2]) for place, (noun, verb) in enumerate(pairs)]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_csv(path: Path, rows: list[tuple[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return path


def prepared(folder: Path, file: Path, form: str, *more: str) -> tuple[Path, dict[str, Any]]:
    done = gradus("data", "prepare", file, "--as", form, "-o", folder / "out", "--json", *more)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return folder / "out", found


def test_texts_are_cleaned_and_dealt_and_what_changed_is_reported(tmp_path: Path) -> None:
    rows = messages()
    text = rows[0][0]
    odd = [
        (text, "spam"),
        (text.upper() + " 7", "spam"),
        ("", "ham"),
        ("no label", ""),
        ("both", "ham"),
        ("both", "spam"),
    ]
    out, found = prepared(tmp_path, write_csv(tmp_path / "rows.csv", rows + odd), "classification")
    assert found["rows_in"] == len(rows) + len(odd)
    assert sum(found["rows"].values()) == len(rows)
    assert found["left_out"] == {
        "a copy word for word": 1,
        "a copy once folded": 1,
        "text_not_null": 1,
        "label_in_set": 1,
        "conflicts": 2,
    }
    left_out = {row["row"]: row["reason"] for row in lines(out / "left_out.jsonl")}
    first = len(rows) + 1
    assert left_out[first] == "a copy word for word"
    assert left_out[first + 1] == "a copy once folded"
    assert sorted(left_out) == list(range(first, first + 6))
    assert json.loads((out / "report.json").read_text()) == found
    parts = {split: {fold(row["text"]) for row in lines(out / f"{split}.jsonl")} for split in SPLITS}
    assert (
        not parts["train"] & parts["test"] | parts["train"] & parts["validation"] | parts["test"] & parts["validation"]
    )
    assert found["answers"]["file"] == {"spam": 42, "ham": 40, "None": 1}
    assert {split: sum(found["answers"][split].values()) for split in SPLITS} == found["rows"]


@pytest.mark.ci
def test_the_seed_decides_the_order(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "rows.csv", messages())
    texts = []
    for seed in ("1", "1", "2"):
        folder = tmp_path / f"{seed}-{len(texts)}"
        folder.mkdir()
        out, _ = prepared(folder, file, "classification", "--seed", seed)
        texts.append([row["text"] for row in lines(out / "train.jsonl")])
    assert texts[0] == texts[1] != texts[2]
    assert sorted(texts[0]) != texts[0]


@pytest.mark.ci
def test_prompts_and_completions_are_as_guides_advise(tmp_path: Path) -> None:
    out, found = prepared(tmp_path, write_csv(tmp_path / "rows.csv", messages()), "classification")
    for split in SPLITS:
        own = lines(out / f"{split}.jsonl")
        for row, pair, chat in zip(
            own,
            lines(out / "prompt_completion" / f"{split}.jsonl"),
            lines(out / "chat" / f"{split}.jsonl"),
            strict=True,
        ):
            assert pair == {"prompt": row["text"] + found["separator"], "completion": f" {row['label']}{found['stop']}"}
            told, asked, answer = chat["messages"]
            assert [each["role"] for each in chat["messages"]] == ["system", "user", "assistant"]
            assert "ham, spam" in told["content"]
            assert (asked["content"], answer["content"]) == (row["text"], row["label"])


@pytest.mark.one_case
@pytest.mark.parametrize("layout", ["chat", "prompt_completion"])
def test_labelled_texts_come_back_as_they_were(tmp_path: Path, layout: str) -> None:
    out, _ = prepared(tmp_path, write_csv(tmp_path / "rows.csv", messages()), "classification")
    done = gradus("data", "read", out / layout, "--as", "classification", "-o", tmp_path / "back", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["found"] == []
    for split in SPLITS:
        assert lines(tmp_path / "back" / f"{split}.jsonl") == lines(out / f"{split}.jsonl")
    config = load_config(str(tmp_path / "back" / "preset.yaml"))
    assert config.source.url == str(tmp_path / "back" / "train.jsonl")


def test_texts_that_are_missing_come_back_as_missing(tmp_path: Path) -> None:
    rows = [{"text": None if number == 3 else f"text {number}", "label": "ab"[number % 2]} for number in range(20)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = gradus("data", "read", tmp_path, "--as", "classification", "-o", tmp_path / "back")
    assert done.returncode == 0, done.stderr


def entries(count: int = 60) -> list[dict[str, str]]:
    tasks = [(noun, verb) for noun in NOUNS for verb in VERBS][:count]
    return [
        {"instruction": f"How does one {v} a {n}?", "input": "", "output": f" With care,\nsaid the {n}."}
        for n, v in tasks
    ]


@pytest.mark.parametrize("layout", ["chat", "prompt_completion"])
def test_instructions_come_back_as_they_were_but_for_first_blanks(tmp_path: Path, layout: str) -> None:
    (tmp_path / "rows.json").write_text(json.dumps(entries()))
    out, found = prepared(tmp_path, tmp_path / "rows.json", "instruction")
    assert found["changed"]["leading blanks of completions taken off"] == 60
    assert found["stop"] == " END", "responses of several lines do not end with a line"
    done = gradus("data", "read", out / layout, "--as", "instruction", "-o", tmp_path / "back")
    assert done.returncode == 0, done.stderr
    for split in SPLITS:
        was, now = lines(out / f"{split}.jsonl"), lines(tmp_path / "back" / f"{split}.jsonl")
        stripped = [row | {"output": row["output"].lstrip()} for row in was]
        assert now == (was if layout == "chat" else stripped)


def test_a_file_for_hosted_services_is_mended(tmp_path: Path) -> None:
    rows = [{"prompt": f"{row['instruction']} ->", "completion": row["output"].strip() + "###"} for row in entries()]
    rows[7]["completion"] = " " + rows[7]["completion"]
    (tmp_path / "old.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out, found = prepared(tmp_path, tmp_path / "old.jsonl", "instruction")
    assert found["found"] == ["59 of 60 completions do not begin with a single blank"]
    assert found["changed"]["separators taken off"] == found["changed"]["stop texts taken off"] == 60
    instructions = {row["instruction"] for split in SPLITS for row in lines(out / f"{split}.jsonl")}
    assert instructions == {row["instruction"] for row in entries()}


def conversation(place: int) -> list[dict[str, str]]:
    system = [{"role": "system", "content": "Be brief."}] if place % 2 else []
    noun, other = NOUNS[place % 11], NOUNS[place // 11 + 5]
    said = [
        f"What is a {noun} for, number {place}?",
        f"For {other}.",
        f"And a {other} beside a {noun}?",
        f"No {place}.",
    ]
    return [*system, *({"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(said))]


def test_conversations_keep_their_turns(tmp_path: Path) -> None:
    rows = [{"messages": conversation(place)} for place in range(60)]
    broken = [{"messages": rows[0]["messages"][:-1]}, rows[3]]
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows + broken))
    out, found = prepared(tmp_path, tmp_path / "chats.jsonl", "chat", "--set", "hosted.system=Be kind.")
    assert found["left_out"] == {"conversation": 1, "a copy word for word": 1}
    chats = [row["messages"] for split in SPLITS for row in lines(out / "chat" / f"{split}.jsonl")]
    told = Counter(turns[0]["content"] for turns in chats)
    assert told == {"Be brief.": 30, "Be kind.": 30}
    kept = [row["messages"] for split in SPLITS for row in lines(out / f"{split}.jsonl")]
    assert sorted(map(json.dumps, kept)) == sorted(json.dumps(row["messages"]) for row in rows)
    assert yaml.safe_load((out / "preset.yaml").read_text())["prompt"] == {"template": "chat"}


@pytest.mark.parametrize("form", ["csv", "tsv", "json", "jsonl", "parquet"])
def test_every_format_of_a_preset_is_read(tmp_path: Path, form: str) -> None:
    rows = [{"text": text, "label": label} for text, label in messages()]
    file = tmp_path / f"rows.{form}"
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    elif form in ("json", "jsonl"):
        file.write_text(json.dumps(rows) if form == "json" else "\n".join(map(json.dumps, rows)))
    else:
        with file.open("w", newline="") as table:
            csv.writer(table, delimiter=",\t"[form == "tsv"]).writerows([rows[0], *(row.values() for row in rows)])
    _, found = prepared(tmp_path, file, "classification")
    assert sum(found["rows"].values()) == len(rows)


@pytest.mark.ci
@pytest.mark.parametrize("form", ["classification", "instruction", "chat"])
def test_the_preset_passes_the_check(tmp_path: Path, form: str) -> None:
    rows = [
        {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": label}]}
        for text, label in messages()
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out, _ = prepared(tmp_path, tmp_path / "rows.jsonl", form)
    checked = gradus("check", out / "preset.yaml", "--json")
    assert checked.returncode == 0, checked.stderr
    data = json.loads(checked.stdout)["data"]
    assert data["rows_used"] == data["rows"] == len(rows)
    assert all(not any(counts.values()) for counts in data["overlap"].values())


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        (["rows.csv", "--as", "preference"], 2, ["--as preference", "classification, instruction, chat"]),
        (["gone.csv", "--as", "chat"], 2, ["there is no file", "gone.csv"]),
        (["rows.dat", "--as", "classification"], 2, ["rows.dat", "source.format="]),
        (["rows.csv", "--as", "classification", "--set", "source.columns.label=kind"], 3, ["'kind'", "'label'"]),
        (
            ["rows.csv", "--as", "classification", "--set", "source.columns.label=text"],
            2,
            ["source: columns", "same column"],
        ),
        (["rows.csv", "--as", "classification", "--set", "split.fraction=1"], 2, ["split.fraction", "fractions"]),
        (["rows.csv", "--as", "classification", "--set", "hosted.stop=ham"], 2, ["hosted.stop", "'ham'"]),
        (["ids.csv", "--as", "classification"], 2, ["1,001 different", "source.columns.label"]),
        (["one.csv", "--as", "classification"], 2, ["1 different"]),
        (["few.csv", "--as", "classification"], 2, ["'spam'"]),
        (["rows.csv", "--as", "classification", "-o", "rows.csv"], 2, ["rows.csv is there already"]),
        (["rows.csv", "--as", "classification", "-o", "no/such"], 2, ["there is no folder"]),
    ],
)
def test_what_is_wrong_is_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int, named: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "rows.csv", messages())
    write_csv(tmp_path / "rows.dat", messages())
    write_csv(tmp_path / "ids.csv", [(f"text {number}", str(number)) for number in range(1001)])
    write_csv(tmp_path / "one.csv", [(text, "ham") for text, _ in messages()])
    write_csv(tmp_path / "few.csv", [*messages()[1::2], *messages()[:2:2]])
    there = sorted(path.name for path in tmp_path.iterdir())
    done = gradus("data", "prepare", *words, *([] if "-o" in words else ["-o", "out"]))
    assert done.returncode == code, done.stderr
    problem = next(line for line in done.stderr.splitlines() if line.startswith("gradus: "))
    assert all(each in problem for each in named), problem
    assert "Traceback" not in done.stderr
    assert sorted({path.name for path in tmp_path.iterdir()} - {"home"}) == there


def test_a_folder_without_splits_is_named_when_it_is_read(tmp_path: Path) -> None:
    done = gradus("data", "read", tmp_path, "--as", "chat", "-o", tmp_path / "out")
    assert done.returncode == 2
    assert "holds no train.jsonl" in done.stderr
    assert not (tmp_path / "out").exists()
