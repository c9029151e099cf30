"""`gradus predict --file` and `gradus respond --file`: tables in any format, read with the model's own columns."""

import csv
import gzip
import json
import os
import shutil
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from components.core.home import home
from components.data.asked import TextSource
from components.generation.config import GenerationConfig
from components.models.saved.classifier import load_classifier
from components.serving.language_model import load_responder
from components.tracking.config import TrackingConfig
from components.tracking.registry.packages import classifier_package, language_model_package
from components.tracking.registry.publishing import log_package
from components.tracking.runs import open_run
from pipelines.asking import Asked
from pipelines.cli.main import app
from tests.patience import PATIENCE

ROOT = Path(__file__).parents[3]
TEXTS = ["WINNER!! Claim your prize", "see you at ten", 'say "hi",\nthen go', "Zoë 오늘 😀"]
READING: dict[str, Any] = {
    "format": "csv",
    "header": True,
    "delimiter": None,
    "quoting": "default",
    "encoding": "utf-8",
}
MAPPED = READING | {"columns": {"text": "question", "label": "kind"}}
TEMPLATE = READING | {"columns": {"text": "{title}: {body}", "label": "stars"}}
POSITIONS = READING | {"format": "tsv", "header": False, "quoting": "none", "columns": {"label": 0, "text": 1}}
QUICK = ["--max-new-tokens", "8", "--precision", "fp32", "--device", "cpu"]
FORMATS = ["csv", "tsv", "json", "jsonl", "parquet"]
SLOW = pytest.mark.slow

Model = Callable[[dict[str, Any] | None], Path]


@pytest.fixture(scope="module")
def packaged(saved_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Return a logged classifier that learnt from a file that was read in some way, each of them written once."""

    @cache
    def make(reading: str) -> Path:
        folder = tmp_path_factory.mktemp("written") / "logged"
        classifier_package(saved_model, ["a"], reading=json.loads(reading)).write(folder, run_id=None)
        return folder

    return lambda reading: make(json.dumps(reading))


@pytest.fixture
def model(packaged: Model, tmp_path: Path) -> Model:
    """Return the same, in the test's own folder."""
    return lambda reading: shutil.copytree(packaged(reading), tmp_path / "logged", dirs_exist_ok=True)


@pytest.fixture
def tuned(saved_language_model: Path) -> Path:
    return saved_language_model


def gradus(*arguments: str | Path, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin, env={"COLUMNS": "200"})


def printed(*arguments: str | Path, stdin: str | None = None) -> list[dict[str, Any]]:
    done = gradus("predict", *arguments, "--json", stdin=stdin)
    assert done.exit_code == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def write(path: Path, rows: list[dict[str, Any]], header: bool = True, delimiter: str | None = None) -> Path:
    kind = path.suffix[1:]
    if kind == "json":
        path.write_text(json.dumps(rows, ensure_ascii=False, indent=1), encoding="utf-8")
    elif kind == "jsonl":
        path.write_text("\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8-sig")
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with path.open("w", newline="", encoding="utf-8-sig") as file:
            writer = csv.writer(file, delimiter=delimiter or {"csv": ",", "tsv": "\t"}[kind])
            writer.writerows([list(rows[0])] if header else [])
            for number, row in enumerate(rows):
                writer.writerow(row.values())
                file.write("\n" * (number == 1))  # a blank line is no row
    return path


def read(path: Path) -> list[dict[str, Any]]:
    kind = path.suffix[1:]
    if kind == "parquet":
        return pq.read_table(path).to_pylist()
    text = path.read_text(encoding="utf-8")
    if kind == "json":
        return json.loads(text)
    if kind in ("jsonl", "ndjson"):
        return [json.loads(line) for line in text.split("\n") if line]
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter={"csv": ",", "tsv": "\t"}[kind]))


def expected(saved_model: Path, texts: list[str] = TEXTS) -> pd.DataFrame:
    return load_classifier(saved_model).predict(texts)


@pytest.mark.ci
@pytest.mark.parametrize("kind", FORMATS)
def test_a_mapped_column_is_found_in_every_format(model: Model, saved_model: Path, tmp_path: Path, kind: str) -> None:
    rows = [{"id": number, "question": text, "kind": "ham"} for number, text in enumerate(TEXTS)]
    found = printed(model(MAPPED), "--file", write(tmp_path / f"new.{kind}", rows))
    assert [row["text"] for row in found] == TEXTS
    assert [row["label"] for row in found] == expected(saved_model)["label"].tolist()
    assert found[0].keys() == {"text", "label", "probability", "p_ham", "p_spam"}


@pytest.mark.ci
@pytest.mark.parametrize("kind", FORMATS)
def test_a_template_is_filled_as_in_training(model: Model, tmp_path: Path, kind: str) -> None:
    rows = [{"title": "Good", "body": text, "stars": 5} for text in TEXTS] + [{"title": None, "body": "x", "stars": 1}]
    found = printed(model(TEMPLATE), "--file", write(tmp_path / f"new.{kind}", rows))
    assert [row["text"] for row in found] == [*(f"Good: {text}" for text in TEXTS), ": x"]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("reading", [None, MAPPED, POSITIONS])
def test_a_column_that_is_called_text_is_one(
    model: Model, tmp_path: Path, kind: str, reading: dict[str, Any] | None
) -> None:
    texts = TEXTS[:2]  # without quotes, which one of these models takes as characters
    rows = [{"label": "spam", "text": text} for text in texts]
    found = printed(model(reading), "--file", write(tmp_path / f"new.{kind}", rows))
    assert [row["text"] for row in found] == texts


def test_a_file_without_a_header_is_read_as_in_training(model: Model, tmp_path: Path) -> None:
    (tmp_path / "new.tsv").write_text('ham\t"hello\n\nspam\twin" now\n')
    found = printed(model(POSITIONS), "--file", tmp_path / "new.tsv")
    assert [row["text"] for row in found] == ['"hello', 'win" now']


@pytest.mark.ci
def test_delimiter_and_encoding_are_those_of_training_or_given(model: Model, tmp_path: Path) -> None:
    folder = model(MAPPED | {"delimiter": ";", "encoding": "cp949"})
    (tmp_path / "new.csv").write_bytes("question;id\n오늘, 내일;1\n".encode("cp949"))
    assert [row["text"] for row in printed(folder, "--file", tmp_path / "new.csv")] == ["오늘, 내일"]
    (tmp_path / "new.txt").write_text("words|id\nhello, you|1\n")
    given = ["--set", "source.format=csv", "--set", 'source.delimiter="|"', "--set", "source.encoding=utf-8"]
    found = printed(folder, "--file", tmp_path / "new.txt", *given, "--set", "source.columns.text=words")
    assert [row["text"] for row in found] == ["hello, you"]
    (tmp_path / "new.jsonl").write_text('{"question": "어제"}\n', encoding="utf-8")
    assert [row["text"] for row in printed(folder, "--file", tmp_path / "new.jsonl")] == ["어제"]


@pytest.mark.ci
def test_a_logged_model_is_asked_by_its_address(saved_model: Path, tmp_path: Path) -> None:
    with open_run(TrackingConfig(system_metrics=False), home(), "spam", {}) as run:
        log_package(run, classifier_package(saved_model, ["a"], reading=MAPPED), "mapped")
    (tmp_path / "new.csv").write_text("question\nhello\n")
    assert [row["text"] for row in printed("models:/mapped@candidate", "--file", tmp_path / "new.csv")] == ["hello"]


def test_plain_lines_stay_lines(model: Model, tmp_path: Path) -> None:
    folder = model(MAPPED)
    (tmp_path / "new.txt").write_bytes('\ufeffZoë,1\r\n\r\n"quoted\r\n[1]\nlast'.encode())
    found = printed(folder, "--file", tmp_path / "new.txt")
    assert [row["text"] for row in found] == ["Zoë,1", "", '"quoted', "[1]", "last"]
    assert [row["label"] is None for row in found] == [False, True, False, False, False]
    done = gradus("predict", folder, "--file", tmp_path / "new.txt")
    assert "1 of 5 have no text, and no label" in done.stderr
    assert printed(folder, "-", stdin=(tmp_path / "new.txt").read_bytes().decode()) == found
    (tmp_path / "new.txt").write_bytes(b"a\nb\xff\n")
    done = gradus("predict", folder, "--file", tmp_path / "new.txt")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "new.txt is not UTF-8: line 2, byte 1 of it; convert it first" in done.stderr
    (tmp_path / "new.csv.gz").write_bytes(gzip.compress(b"question\nhello\n"))
    done = gradus("predict", folder, "--file", tmp_path / "new.csv.gz")
    assert "new.csv.gz is compressed; unpack it first" in done.stderr


def test_what_is_no_number_is_missing_in_a_column_of_several_types(model: Model, tmp_path: Path) -> None:
    (tmp_path / "new.jsonl").write_text(
        '{"question":"a","n":NaN}\n{"question":"b","n":null}\n{"question":"c","n":"x"}\n'
    )
    out = tmp_path / "out.parquet"
    assert gradus("predict", model(MAPPED), "--file", tmp_path / "new.jsonl", "--output", out).exit_code == 0
    assert [row["n"] for row in read(out)] == [None, None, "x"]


GIVEN = ["--set", "source.columns.text=words", "--set", 'source.delimiter=";"']


@pytest.mark.parametrize("name", ["new.txt", "new"])
def test_what_is_set_is_heeded_where_the_name_says_no_format(model: Model, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("words;id\nhello, you;1\n")
    found = printed(model(MAPPED), "--file", tmp_path / name, *GIVEN)
    assert [row["text"] for row in found] == ["hello, you"], "in the format that was learnt from"


@pytest.mark.one_case
@pytest.mark.parametrize("learnt", [None, MAPPED | {"format": "jsonl"}])
def test_the_format_has_to_be_set_too_where_nothing_says_it(
    model: Model, tmp_path: Path, learnt: dict[str, Any] | None
) -> None:
    (tmp_path / "new.txt").write_text("words;id\nhello, you;1\n")
    done = gradus("predict", model(learnt), "--file", tmp_path / "new.txt", *GIVEN)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "new.txt: its name says no format; also set source.format" in done.stderr


@pytest.mark.ci
@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-8"])
def test_plain_lines_are_read_in_the_encoding_that_is_set(model: Model, tmp_path: Path, encoding: str) -> None:
    texts = ["caf\xe9, 1", "", '"quoted', "last"]
    (tmp_path / "new.txt").write_bytes("\r\n".join(texts).encode(encoding))
    found = printed(model(MAPPED), "--file", tmp_path / "new.txt", "--set", f"source.encoding={encoding}")
    assert [row["text"] for row in found] == texts


@pytest.mark.parametrize("asked", [["predict", "-"], ["predict", "hello"], ["respond", "hello"]])
def test_there_is_nothing_to_set_without_a_file(asked: list[str]) -> None:
    command, text = asked
    done = gradus(command, "nowhere", text, "--set", "source.encoding=cp1252", stdin="hello\n")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--set source.encoding says how a file is read: name one with --file" in done.stderr


@pytest.mark.parametrize(
    ("reading", "content", "texts"),
    [
        (POSITIONS, 'ham\tGo until "now\n\nspam\tWIN it, now\n', ['Go until "now', "WIN it, now"]),
        (MAPPED, 'id,question\n1,"hello, you"\n', ["hello, you"]),
        (TEMPLATE, "title,body,stars\nGood,book,5\n", ["Good: book"]),
        (POSITIONS, "ham Go\nWIN\tnow\n", ["ham Go", "WIN\tnow"]),
        (POSITIONS | {"format": "csv"}, "Hello, you\nBye, you\n", ["Hello, you", "Bye, you"]),
        (MAPPED, "Hello, question\nBye, you\n", ["Hello, question", "Bye, you"]),
        (MAPPED, "question\nwhat\n", ["question", "what"]),
        (MAPPED, b"\xef\xbb\xbf\n", [""]),
        (MAPPED, "", []),
    ],
)
def test_a_file_without_a_format_is_a_table_if_it_begins_like_the_one_learnt_from(
    model: Model, tmp_path: Path, reading: dict[str, Any], content: str | bytes, texts: list[str]
) -> None:
    (tmp_path / "collection").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert [row["text"] for row in printed(model(reading), "--file", tmp_path / "collection")] == texts


@pytest.mark.ci
def test_a_parquet_file_is_read_by_position_as_in_training(model: Model, tmp_path: Path) -> None:
    folder = model(READING | {"format": "parquet", "columns": {"text": 0, "label": 1}})
    new = write(tmp_path / "new.parquet", [{"x": text, "y": "ham"} for text in TEXTS])
    assert [row["text"] for row in printed(folder, "--file", new)] == TEXTS
    assert gradus("predict", folder, "--file", new, "--output", tmp_path / "out.csv").exit_code == 0
    assert list(read(tmp_path / "out.csv")[0])[:3] == ["x", "y", "label"]


@pytest.mark.parametrize("wanted", ["csv", *(pytest.param(each, marks=SLOW) for each in ("jsonl", "parquet"))])
@pytest.mark.parametrize(
    ("names", "written"),
    [
        (["text", "kind", "", ""], ["text", "kind", "", "_2"]),
        (["x", "x", "x_2", "text", "x"], ["x", "x_3", "x_2", "text", "x_4"]),
    ],
)
@pytest.mark.parametrize("given", ["csv", "parquet"])
def test_columns_that_are_only_copied_may_share_a_name(
    model: Model, tmp_path: Path, given: str, wanted: str, names: list[str], written: list[str]
) -> None:
    new, out = tmp_path / f"new.{given}", tmp_path / f"out.{wanted}"
    cells = [f"cell {place}" for place in range(len(names))]
    if given == "parquet":
        pq.write_table(pa.table([pa.array([cell]) for cell in cells], names=names), new)
    else:
        new.write_text(f"{','.join(names)}\n{','.join(cells)}\n")
    done = gradus("predict", model(None), "--file", new, "--output", out)
    assert done.exit_code == 0, done.stderr
    [row] = read(out)
    assert list(row.items())[: len(names)] == list(zip(written, cells, strict=True))
    assert list(row)[len(names)] == "label"


def test_a_table_with_rows_without_a_text(model: Model, tmp_path: Path) -> None:
    rows = [{"question": text, "id": number} for number, text in enumerate(["a", None, " ", "b"])]
    out = tmp_path / "out.jsonl"
    done = gradus("predict", model(MAPPED), "-f", write(tmp_path / "new.jsonl", rows), "-o", out)
    assert done.exit_code == 0
    assert "2 of 4 have no text, and no label" in done.stderr
    assert [row["label"] is None for row in read(out)] == [False, True, True, False]
    assert [(row["question"], row["id"]) for row in read(out)] == [("a", 0), (None, 1), (" ", 2), ("b", 3)]


RECORDS: list[dict[str, Any]] = [
    {"id": 1, "question": TEXTS[0], "label": "spam", "score": 0.5, "tags": ["a", "é"], "when": {"year": 2024}},
    {"id": 2, "question": TEXTS[1] + "\r", "label": None, "score": None, "tags": [], "when": {"year": None}},
    {"id": 3, "question": TEXTS[2], "label": "ham", "score": 2.0, "tags": None, "when": None},
]


@pytest.mark.parametrize("given", ["csv", "json", "jsonl", "parquet"])
@pytest.mark.parametrize("wanted", [*FORMATS, "ndjson"])
def test_answers_stand_beside_the_columns_of_the_file(
    model: Model, saved_model: Path, tmp_path: Path, given: str, wanted: str
) -> None:
    rows = RECORDS if given != "csv" else [{key: row[key] for key in ("id", "question", "label")} for row in RECORDS]
    out = tmp_path / f"out.{wanted}"
    done = gradus("predict", model(MAPPED), "-f", write(tmp_path / f"new.{given}", rows), "--output", out)
    assert (done.exit_code, done.stdout) == (0, ""), done.stderr
    assert f"3 rows in {out}" in done.stderr
    found, truth = read(out), expected(saved_model, [row["question"] for row in rows])
    assert list(found[0]) == [*rows[0], "predicted_label", "probability", "p_ham", "p_spam"]
    assert [row["predicted_label"] for row in found] == truth["label"].tolist()
    assert [float(row["probability"]) for row in found] == pytest.approx(truth["probability"].tolist())
    kept = [{key: row[key] for key in rows[0]} for row in found]
    if wanted in ("csv", "tsv"):
        assert [row["question"] for row in kept] == [row["question"] for row in rows]
        assert [row["label"] for row in kept] == ["spam", "", "ham"]
        if given != "csv":
            assert [row["tags"] for row in kept] == ['["a", "é"]', "[]", ""]
    elif given == "csv":
        assert kept == [{key: None if value is None else str(value) for key, value in row.items()} for row in rows]
    else:
        assert kept == rows
    assert not list(tmp_path.glob(".out*"))


def test_what_has_no_type_in_common_is_text_in_parquet(model: Model, tmp_path: Path) -> None:
    rows = [{"question": "a", "x": 1, "y": 1}, {"question": "b", "x": "one", "y": 2.5}, {"question": "c", "z": [1]}]
    out = tmp_path / "out.parquet"
    done = gradus("predict", model(MAPPED), "-f", write(tmp_path / "new.jsonl", rows), "-o", out)
    assert done.exit_code == 0, done.stderr
    table = pq.read_table(out).drop_columns(["label", "probability", "p_ham", "p_spam"])
    assert table.to_pydict() == {"question": ["a", "b", "c"], "x": ["1", "one", None], "y": [1.0, 2.5, None],
                                 "z": [None, None, [1]]}  # fmt: skip


def test_the_output_can_be_read_again(model: Model, saved_model: Path, tmp_path: Path) -> None:
    folder = model(MAPPED)
    rows = [{"question": text} for text in [*TEXTS, "a\rb", '"', "x\r\ny", " "]]
    first = write(tmp_path / "new.json", rows)
    for kind in FORMATS:
        done = gradus("predict", folder, "--file", first, "--output", tmp_path / f"again.{kind}")
        assert done.exit_code == 0, done.stderr
        assert [row["text"] for row in printed(folder, "--file", tmp_path / f"again.{kind}")] == [
            row["question"] for row in rows
        ]
    done = gradus("predict", folder, "--file", tmp_path / "again.csv", "--output", tmp_path / "more.csv")
    assert "predicted_label" in done.stderr or list(read(tmp_path / "more.csv")[0])[-4:] == [
        "predicted_label", "predicted_probability", "predicted_p_ham", "predicted_p_spam",
    ]  # fmt: skip
    third = gradus("predict", folder, "--file", tmp_path / "more.csv", "--output", tmp_path / "third.csv")
    assert third.exit_code == 2
    assert "the file has a column 'predicted_label' already, as answers would; rename or remove it" in third.stderr


def test_texts_and_standard_input_can_be_written_too(model: Model, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    assert gradus("predict", model(None), "hello", "there", "--output", out).exit_code == 0
    assert [row["text"] for row in read(out)] == ["hello", "there"]
    shown = gradus("predict", tmp_path / "logged", "-", "--output", out, "--json", stdin="one\ntwo\n")
    assert [json.loads(line)["text"] for line in shown.stdout.splitlines()] == ["one", "two"]
    assert [row["text"] for row in read(out)] == ["one", "two"]


WRONG: list[tuple[str, str | bytes, list[str], str]] = [
    (
        "new.csv",
        "words,kind\na,b\n",
        [],
        r"has no column text: source.columns.text is 'question', and the columns there",
    ),
    ("new.csv", "question;kind\na;b\n", [], "its fields are separated by ';': set source.delimiter="),
    ("new.csv", 'question,kind\n"a "b",c\n', [], "line 2: after the closing quote of a field comes 'b"),
    ("new.csv", "", [], "new.csv is empty"),
    ("new.csv", "question\ncaf\xe9\n".encode("latin-1"), [], "is not utf-8: byte 12 (line 2)"),
    ("new.xlsx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99), [], "is an Excel workbook, not csv; save it as CSV"),
    ("new.parquet", "question\na\n", [], "cannot be read as Parquet"),
    ("new.jsonl", '{"words": "a"}\n', [], "has no column text: source.columns.text is 'question'"),
    ("new.jsonl", '{"question": "a"}\n{"question": \n', [], "line 2 is not JSON"),
    ("new.csv", "question\na\n", ["--set", "source.delimiter=ab"], "--set source: delimiter: it is one character"),
    (
        "new.csv",
        "question\na\n",
        ["--set", "source.url=x"],
        "--set source.url: of a file, source.format, source.header",
    ),
    ("new.csv", "question\na\n", ["--set", "train.epochs=3"], "--set train: of a file"),
    ("new.csv", "question\na\n", ["--set", "source=1"], "--set source: of a file, source.format, source.header"),
    ("new.csv", "question\na\n", ["--set", "source=null"], "--set source: of a file, source.format, source.header"),
    *(
        ("new.csv", "question\na\n", ["--set", f"source.columns={value}"], f"columns.text={end}")
        for value, end in (("question", "NAME"), ("null", "NAME"), ("[question]", "NAME"))
    ),
    ("new.txt", "a\n", ["--set", "source.encoding=utf-9"], "--set source: encoding: Python knows no such encoding"),
    ("new.txt", b"a\nb\xe9\n", ["--set", "source.encoding=ascii"], "new.txt is not ascii: byte 3 (line 2)"),
    (
        "new.csv",
        "question\na\n",
        ["--output", "out.xlsx"],
        "--output out.xlsx: its name says no format; it ends in .csv",
    ),
    ("new.csv", "question\na\n", ["--output", "no/out.csv"], "--output no/out.csv: there is no folder no"),
    ("new.csv", "question\na\n", ["--output", "new.csv"], "--output new.csv is the file that is read; name another"),
    ("", "", ["--file", "nowhere.csv"], "cannot read nowhere.csv: No such file"),
    ("", "", ["--file", "."], "cannot read .: it is a folder"),
]


@pytest.mark.parametrize(("name", "content", "options", "says"), WRONG)
def test_what_cannot_be_done_is_one_line(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: str | bytes, options: list[str],
    says: str,
) -> None:  # fmt: skip
    folder = model(MAPPED)
    monkeypatch.chdir(tmp_path)
    if name:
        Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    before = sorted(tmp_path.iterdir())
    done = gradus("predict", folder, *(["--file", name] if name else []), *options)
    assert done.exit_code == 2
    assert says in done.stderr
    assert (done.stderr.count("\n"), done.stdout) == (1, "")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.ci
def test_an_output_is_complete_or_as_it_was(model: Model, tmp_path: Path) -> None:
    folder, out = model(MAPPED), tmp_path / "out.jsonl"
    out.write_text("before")
    (tmp_path / "new.jsonl").write_text('{"question": "a"}\n' * 20_000 + '{"question": ["b"]}\n')
    done = gradus("predict", folder, "-f", tmp_path / "new.jsonl", "-o", out)
    assert done.exit_code == 2
    assert "column 'question' of record 20001 holds a list" in done.stderr
    assert out.read_text() == "before"
    assert not list(tmp_path.glob(".out*"))


@pytest.mark.slow
@pytest.mark.parametrize("given", ["csv", "jsonl", "parquet", "txt"])
def test_memory_does_not_grow_with_the_rows(tmp_path: Path, given: str) -> None:
    """Four times the rows are read, answered and written in the same memory: that of some batches of them."""
    kinds = {"label": pa.string(), "probability": pa.float64()}

    def peak(rows: int) -> int:
        path, out = tmp_path / f"new{rows}.{given}", tmp_path / f"out{rows}.csv"
        texts = [f"{number} {'a longer text ' * 20}" for number in range(rows)]
        if given == "parquet":
            pq.write_table(pa.table({"text": texts, "more": texts}), path, row_group_size=10_000)
        else:
            line = {"csv": "{0},{0}\n", "jsonl": '{{"text": "{0}", "more": "{0}"}}\n', "txt": "{0}\n"}[given]
            path.write_text(("text,more\n" if given == "csv" else "") + "".join(line.format(text) for text in texts))
        del texts
        asked = Asked(TextSource, path, {}, [], out)
        tracemalloc.start()
        count = 0

        def answer(asked, _first):
            return {"label": ["a"] * len(asked["text"]), "probability": [0.5] * len(asked["text"])}

        for each, _ in asked.answers(None, answer, kinds):
            count += len(each)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == rows
        with out.open(newline="") as file:
            assert sum(1 for _ in csv.reader(file)) == rows + 1
        return found

    small = peak(60_000)
    assert peak(240_000) < 1.3 * small


@pytest.mark.slow
@pytest.mark.parametrize("given", ["csv", "tsv", "jsonl", "parquet", "txt"])
@pytest.mark.parametrize(
    "wanted", [None, "csv", *(pytest.param(each, marks=SLOW) for each in ("json", "jsonl", "parquet"))]
)
def test_rows_are_read_asked_and_written_some_at_a_time(tmp_path: Path, given: str, wanted: str | None) -> None:
    path = tmp_path / f"new.{given}"
    if given == "parquet":
        pq.write_table(pa.table({"text": ["hello"] * 60_000}), path)
    else:
        head = {"csv": "text,x\n", "tsv": "text\tx\n"}.get(given, "")
        long = "x" * 100
        line = {"csv": f"hello,{long}\n", "tsv": f"hello\t{long}\n", "jsonl": '{"text": "hello"}\n'}.get(
            given, "hello\n"
        )
        path.write_text(head + line * 60_000)
    out = tmp_path / f"out.{wanted}" if wanted else None
    asked, waiting, sizes = Asked(TextSource, path, {}, [], out), 0, []

    def answer(texts: Mapping[str, list[str]], _first: int) -> dict[str, list[Any]]:
        nonlocal waiting
        waiting += len(texts["text"])
        return {"label": texts["text"]}

    for rows, answers in asked.answers(None, answer, {"label": pa.string()}):
        assert waiting == len(rows), "no more has been asked than was taken"
        assert answers["label"] == rows.texts["text"] == ["hello"] * len(rows)
        sizes.append(len(rows))
        waiting = 0
    assert sum(sizes) == 60_000
    assert max(sizes) < 60_000
    if out:
        assert [row["label"] for row in read(out)] == ["hello"] * 60_000


QUESTIONS = [{"q": "Say hello", "context": "", "id": 1}, {"q": "Name a bird", "context": "in winter", "id": 2}]
ASKED = READING | {"format": "json", "columns": {"instruction": "{q}", "input": "context", "output": "a"}}


def answered(tuned: Path, instructions: list[str], inputs: list[str], **options: Any) -> list[str]:
    config = GenerationConfig(max_new_tokens=8, precision="fp32", **options)
    return load_responder(tuned).respond(instructions, inputs, config)["response"].tolist()


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("wanted", ["csv", *(pytest.param(each, marks=SLOW) for each in ("jsonl", "parquet"))])
def test_a_language_model_reads_its_own_columns(tuned: Path, tmp_path: Path, kind: str, wanted: str) -> None:
    language_model_package(tuned, [{"instruction": "a"}], ASKED).write(tmp_path / "logged", run_id=None)
    file, out = write(tmp_path / f"new.{kind}", QUESTIONS), tmp_path / f"out.{wanted}"
    done = gradus("respond", tmp_path / "logged", "--file", file, "--json", "--output", out, *QUICK)
    assert done.exit_code == 0, done.stderr
    truth = answered(tuned, ["Say hello", "Name a bird"], ["", "in winter"])
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["instruction"], row["input"]) for row in rows] == [("Say hello", ""), ("Name a bird", "in winter")]
    assert [row["response"] for row in rows] == truth
    assert list(read(out)[0]) == ["q", "context", "id", "response", "new_tokens", "stopped"]
    assert [row["response"] for row in read(out)] == truth


def test_instructions_by_their_own_names_by_lines_and_by_what_is_given(tuned: Path, tmp_path: Path) -> None:
    truth = answered(tuned, ["Say hello", "Name a bird"], ["", ""])
    files = {
        "plain.txt": "Say hello\nName a bird\n",
        "named.csv": "id,instruction\n1,Say hello\n2,Name a bird\n",
        "json in a text.txt": '[{"instruction": "Say hello"}, {"instruction": "Name a bird"}]',
        "lines in a text": '{"instruction": "Say hello"}\n{"instruction": "Name a bird"}\n',
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content)
        done = gradus("respond", tuned, "--file", tmp_path / name, "--json", *QUICK)
        assert [json.loads(line)["response"] for line in done.stdout.splitlines()] == truth, (name, done.stderr)
    (tmp_path / "other.csv").write_text("ask\nSay hello\n\nName a bird\n")
    done = gradus(
        "respond", tuned, "--file", tmp_path / "other.csv", "--json", *QUICK, "--set", "source.columns.instruction=ask"
    )
    assert [json.loads(line)["response"] for line in done.stdout.splitlines()] == truth


def test_rows_without_an_instruction_and_names_that_are_taken(tuned: Path, tmp_path: Path) -> None:
    rows = [{"instruction": "Say hello", "response": "x"}, {"instruction": "", "response": "y"}]
    out = tmp_path / "out.jsonl"
    done = gradus("respond", tuned, "--file", write(tmp_path / "new.csv", rows), "-o", out, *QUICK)
    assert done.exit_code == 0
    assert "1 of 2 have no instruction, and no response" in done.stderr
    found = read(out)
    assert [row["response"] for row in found] == ["x", "y"]
    assert found[0]["predicted_response"] == answered(tuned, ["Say hello"], [""])[0]
    assert (found[1]["predicted_response"], found[1]["new_tokens"], found[1]["stopped"]) == (None, None, None)


@pytest.mark.ci
def test_draws_do_not_depend_on_how_many_rows_are_read_at_a_time(
    tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"instruction": f"Say {number}"} for number in range(7)]
    options = ["--temperature", "1.2", "--seed", "8", *QUICK]
    file = write(tmp_path / "new.jsonl", rows)
    whole = gradus("respond", tuned, "--file", file, "--json", *options).stdout
    monkeypatch.setattr("components.data.formats.json_readers.BATCH", 3)
    assert gradus("respond", tuned, "--file", file, "--json", *options).stdout == whole
    assert len(whole.splitlines()) == 7


@pytest.mark.ci
@pytest.mark.parametrize("command", ["predict", "respond"])
def test_a_pipe_is_read_like_a_file(model: Model, tuned: Path, tmp_path: Path, command: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    content = "hello\nthere\n" if command == "predict" else '{"instruction": "hello"}\n{"instruction": "there"}\n'
    feeding = threading.Thread(target=(tmp_path / "pipe").write_text, args=(content,))
    feeding.start()
    asked = model(MAPPED) if command == "predict" else tuned
    done = gradus(command, asked, "--file", tmp_path / "pipe", "--json", *(QUICK if command == "respond" else []))
    feeding.join()
    field = "text" if command == "predict" else "instruction"
    assert [json.loads(line)[field] for line in done.stdout.splitlines()] == ["hello", "there"], done.stderr


@pytest.mark.ci
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("command", ["predict", "respond"])
def test_a_table_may_come_through_a_pipe(model: Model, tuned: Path, tmp_path: Path, command: str, kind: str) -> None:
    field = "question" if command == "predict" else "instruction"
    whole = write(tmp_path / f"whole.{kind}", [{field: text, "id": "1"} for text in ("hello", "there")])
    pipe, out = tmp_path / f"pipe.{kind}", tmp_path / "out.jsonl"
    os.mkfifo(pipe)
    feeding = threading.Thread(target=pipe.write_bytes, args=(whole.read_bytes(),))
    feeding.start()
    asked, options = (model(MAPPED), []) if command == "predict" else (tuned, QUICK)
    done = gradus(command, asked, "--file", pipe, "--output", out, *options)
    feeding.join()
    assert done.exit_code == 0, done.stderr
    assert [(row[field], row["id"]) for row in read(out)] == [("hello", "1"), ("there", "1")]


def test_lines_of_a_pipe_are_read_in_the_encoding_that_is_set(model: Model, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    feeding = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=("caf\xe9\n".encode("cp1252"),))
    feeding.start()
    found = printed(model(MAPPED), "--file", tmp_path / "pipe", "--set", "source.encoding=cp1252")
    feeding.join()
    assert [row["text"] for row in found] == ["caf\xe9"]


@pytest.mark.parametrize("command", ["predict", "respond"])
def test_help_shows_how(command: str) -> None:
    shown = gradus(command, "--help").stdout
    assert "--output" in shown
    assert "source.KEY=VALUE" in shown
    assert "--file new.csv --output" in shown or "--file questions.csv --output" in shown


@pytest.mark.slow
def test_it_runs_as_a_process(model: Model, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("question,kind\nhello,ham\n")
    command = [sys.executable, "-c", "from pipelines.cli.start import main; main()", "predict", str(model(MAPPED))]
    done = subprocess.run(
        [*command, "--file", "new.csv", "--output", "out.tsv"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert [row["question"] for row in read(tmp_path / "out.tsv")] == ["hello"]
    assert done.stderr == "gradus: 1 rows in out.tsv\n"
