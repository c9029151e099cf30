"""JSON, JSON Lines and Parquet: the same records from each, and one line for what is none."""

import gzip
import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from components.core.errors import DataRejected, TableError
from components.data.batches import schema
from components.data.download import download
from components.data.sources import SourceConfig
from components.data.tables import read_batches
from components.data.validation.rules import ValidationConfig

RECORDS: list[dict[str, Any]] = [
    {"title": "Zoë's", "body": 'two\r\nlines, "quoted"', "stars": 1, "meta": {"lang": "en"}},
    {"title": None, "body": "only a body", "stars": 2.0, "meta": {"lang": None}},
    {"title": "only a title", "stars": 2.5},
    {"stars": True, "body": "\u2028", "title": "NA"},
    {"title": None, "body": None, "stars": None, "meta": None},
]
STARS = ["1", "2", "2.5", "true", None]
TEMPLATE = {"text": "{title}\n\n{body}", "label": "stars"}
TEXTS = ['Zoë\'s\n\ntwo\r\nlines, "quoted"', "\n\nonly a body", "only a title\n\n", "NA\n\n\u2028", None]


def read(folder: Path, content: bytes, kind: str, **options: Any) -> dict[str, list[Any]]:
    path = folder / f"raw.{kind}"
    path.write_bytes(content)
    source = SourceConfig.model_validate({"url": "raw", "format": kind, **options})
    found: dict[str, list[Any]] = pa.Table.from_batches(
        read_batches(path, source), schema(source.table_columns)
    ).to_pydict()
    return found


def lines(records: list[Any], **options: Any) -> bytes:
    return "\n".join(json.dumps(record, ensure_ascii=False, **options) for record in records).encode()


def parquet(folder: Path, columns: dict[str, Any]) -> bytes:
    pq.write_table(pa.table(columns), folder / "made")
    return (folder / "made").read_bytes()


@pytest.mark.parametrize("kind", ["json", "jsonl"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_json_records(tmp_path: Path, kind: str, mark: bytes) -> None:
    content = json.dumps(RECORDS, indent=1).encode() if kind == "json" else lines(RECORDS).replace(b"\n", b"\r\n\r\n")
    found = read(tmp_path, mark + content, kind, columns=TEMPLATE)
    assert found == {"row": [1, 2, 3, 4, 5], "text": TEXTS, "label": STARS}


def test_values_inside_objects(tmp_path: Path) -> None:
    records = [*RECORDS, {"meta.lang": "de", "stars": "x"}]
    found = read(tmp_path, lines(records), "jsonl", columns={"text": "meta.lang", "label": "stars"})
    assert found["text"] == ["en", None, None, None, None, "de"]
    assert found["label"] == [*STARS, "x"]


def test_parquet_records(tmp_path: Path) -> None:
    columns = {
        "title": pa.array(["a", None, "NA"]).dictionary_encode(),
        "body": pa.array([b"x", "é".encode(), None]),
        "stars": pa.array([1.0, float("nan"), None]),
        "meta": pa.array([{"lang": {"code": "en"}}, {"lang": None}, None]),
    }
    content = parquet(tmp_path, columns)
    found = read(tmp_path, content, "parquet", columns=TEMPLATE)
    assert found == {"row": [1, 2, 3], "text": ["a\n\nx", "\n\né", "NA\n\n"], "label": ["1", None, None]}
    assert read(tmp_path, content, "parquet", columns={"text": 0, "label": 2})["text"] == ["a", None, "NA"]
    assert read(tmp_path, content, "parquet", columns={"text": "meta.lang.code"})["text"] == ["en", None, None]


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([0, 1], ["0", "1"]),
        ([0.0, 1.0], ["0", "1"]),
        ([-1.5, 1e300], ["-1.5", "1e+300"]),
        ([False, True], ["false", "true"]),
        (["1.0", ""], ["1.0", ""]),
        ([Decimal("1.00"), Decimal("1.50")], ["1", "1.50"]),
        ([date(2020, 1, 2), None], ["2020-01-02", None]),
    ],
)
def test_labels_of_any_kind_are_text(tmp_path: Path, values: list[Any], labels: list[str | None]) -> None:
    content = parquet(tmp_path, {"text": ["a", "b"], "label": values})
    assert read(tmp_path, content, "parquet")["label"] == labels


def test_a_map_names_numbers_however_they_are_written(tmp_path: Path) -> None:
    content = parquet(tmp_path, {"text": ["a", "b", "c"], "label": [0.0, 1.0, 2.0]})
    found = read(tmp_path, content, "parquet", label_map={0: "world", "1": "sports", 2.0: 7})
    assert found["label"] == ["world", "sports", "7"]
    assert ValidationConfig(labels=[1, 2.0, "3"]).labels == ["1", "2", "3"]  # type: ignore[list-item]


def test_what_yaml_reads_as_true_is_refused_as_a_label() -> None:
    for wrong in ({"labels": [False, True]}, {"labels": ["a", True]}):
        with pytest.raises(ValidationError, match="put it into quotes: YAML reads yes, no, on"):
            ValidationConfig.model_validate(wrong)
    with pytest.raises(ValidationError, match="put it into quotes"):
        SourceConfig.model_validate({"url": "raw", "label_map": {True: "spam"}})


@pytest.mark.parametrize("label_map", [{"1": "ham", 1: "spam"}, {0: "a", 1.0: "ham", "1": "ham"}])
def test_a_label_named_twice_in_a_map_is_refused(label_map: dict[Any, str]) -> None:
    with pytest.raises(ValidationError, match=r"'1' is there as a number and as a text, .*; write it once"):
        SourceConfig.model_validate({"url": "raw", "label_map": label_map})
    kept = SourceConfig.model_validate({"url": "raw", "label_map": {1: "ham", "1.0": "ham", "01": "spam"}})
    assert kept.label_map == {"1": "ham", "1.0": "ham", "01": "spam"}
    assert SourceConfig.model_validate({"url": "raw", "label_map": None}).label_map is None


@pytest.mark.ci
def test_records_beyond_a_batch_keep_their_numbers_and_may_start_with_others(tmp_path: Path) -> None:
    records = [{"other": 1, "label": row} for row in range(40_000)] + [{"text": "late", "label": 9}]
    found = read(tmp_path, lines(records), "jsonl")
    assert found["row"] == list(range(1, 40_002))
    assert found["text"][-2:] == [None, "late"]
    assert found["label"][:40_000] == [str(row) for row in range(40_000)]


def test_an_empty_list_is_a_table_without_rows(tmp_path: Path) -> None:
    assert read(tmp_path, b"[]", "json") == {"row": [], "text": [], "label": []}
    empty = parquet(tmp_path, {"text": pa.array([], pa.string()), "label": pa.array([], pa.int64())})
    assert read(tmp_path, empty, "parquet") == {"row": [], "text": [], "label": []}


GOOD = b'{"text": "a", "label": 1}\n'
BROKEN: list[tuple[str, bytes, str]] = [
    ("jsonl", b"", r"raw\.jsonl is empty"),
    ("jsonl", b"\n \n", r"raw\.jsonl is empty"),
    (
        "jsonl",
        GOOD * 2 + b'\n{"text": "b", "label"\n' + GOOD,
        "line 4 is not JSON: .*delimiter at column 22; correct or",
    ),
    ("jsonl", GOOD + b"[1]\n", "line 2 holds a list, not an object"),
    ("jsonl", b'[\n{"text": "a"}\n]', "line 1 is not JSON: .*; if the file is one list, set source.format=json$"),
    ("jsonl", b'[{"text": "a"}]', "line 1 holds a list.*; if the file is one list, set source.format=json$"),
    ("jsonl", GOOD + b"null\n", "line 2 holds null, not an object"),
    ("jsonl", GOOD + b'{"text": "\xff"}', r"not utf-8: byte 36 \(line 2\)"),
    ("jsonl", GOOD + b'{"text": "a \\ud83d", "label": 1}', "record 2 has a .u escape that is half a character"),
    ("jsonl", GOOD + b'{"text": ["a"], "label": 1}', "column 'text' of record 2 holds a list, not text or a number"),
    ("jsonl", GOOD + b'{"text": "a", "label": {"a": 1}}', "column 'label' of record 2 holds a dict, not text"),
    ("jsonl", b"[" * 200_000, "line 1 cannot be read: lists and objects stand in one another too deeply; correct"),
    (
        "jsonl",
        b'{"text": "a"}\n{"text": "b", "text": "c"}\n',
        "line 2 cannot be read: .*'text' more than once; correct or",
    ),
    ("jsonl", GOOD + b"9" * 5000, "line 2 cannot be read: a number has thousands of digits; correct"),
    ("json", b"", r"raw\.json is empty"),
    ("json", b"\xef\xbb\xbf", r"raw\.json is empty"),
    ("json", b"\n \n", r"raw\.json is empty"),
    ("json", b"[1, 2]", "record 1 holds a number, not an object"),
    ("json", b'[{"text": "a"}, "b"]', "record 2 holds a text, not an object"),
    ("json", b'{"data": [{"text": "a"}]}', "holds one object, not a list of objects; write the list under 'data' to"),
    ("json", b"7", "holds a number, not a list of objects; write it as"),
    ("json", GOOD * 2, "line 2, column 1: Extra data; if it has an object a line, set source.format=jsonl"),
    ("json", b'[{"text": "a"},\n]', "is not JSON: line 2"),
    ("json", b"[" * 200_000, "cannot be read as JSON"),
    ("json", b'[{"text": "a", "meta": {"id": 1, "id": 2}}]', "cannot be read as JSON: .*'id' more than once"),
    ("json", gzip.compress(b"[]", mtime=0), r"raw\.json is an archive; set source\.member"),
    ("parquet", b"", r"raw\.parquet is empty"),
    ("parquet", b"text,label\n", r"raw\.parquet cannot be read as Parquet: .*check source\.format"),
    ("parquet", gzip.compress(b"PAR1", mtime=0), r"raw\.parquet is an archive; set source\.member"),
]


@pytest.mark.parametrize(("kind", "content", "says"), BROKEN)
def test_what_cannot_be_read_is_said_in_a_line(tmp_path: Path, kind: str, content: bytes, says: str) -> None:
    with pytest.raises(TableError, match=says) as caught:
        read(tmp_path, content, kind)
    assert "\n" not in str(caught.value)


def test_a_damaged_parquet_file(tmp_path: Path) -> None:
    content = parquet(tmp_path, {"text": [f"text {row}" for row in range(9000)], "label": ["a"] * 9000})
    for damaged in (content[:-500], content[:100] + bytes(3000) + content[3100:]):
        with pytest.raises(TableError, match="cannot be read as Parquet") as caught:
            read(tmp_path, damaged, "parquet")
        assert "\n" not in str(caught.value)


def test_a_column_that_no_record_has(tmp_path: Path) -> None:
    made = parquet(tmp_path, {"words": ["a"], "label": [1]})
    for kind, content in (
        ("json", b'[{"words": "a", "label": 1}]'),
        ("jsonl", b'{"words": "", "label": 1}'),
        ("parquet", made),
    ):
        with pytest.raises(
            DataRejected, match=r"no column text: source\.columns\.text is 'text', .* are 'words', 'label';"
        ):
            read(tmp_path, content, kind)
        with pytest.raises(DataRejected, match=r"source.columns.text names 'a\.b', .* are 'words', 'label'"):
            read(tmp_path, content, kind, columns={"text": "{words}{a.b}", "label": "label"})


def test_a_duplicate_column_in_parquet(tmp_path: Path) -> None:
    pq.write_table(pa.table([["a"], ["b"], ["c"]], names=["text", "text", "label"]), tmp_path / "made")
    with pytest.raises(TableError, match="2 columns 'text', counting fields inside structs; rename one"):
        read(tmp_path, (tmp_path / "made").read_bytes(), "parquet")


@pytest.mark.parametrize("text", ["text", "text.inner", 0, "{label}{text}"])
def test_a_parquet_struct_for_the_text_is_refused_with_its_fields(tmp_path: Path, text: str | int) -> None:
    content = parquet(tmp_path, {"text": [{"inner": {"x": "a", "y": "b"}}], "label": [1]})
    says = r"raw\.parquet: column 'text(\.inner)?' is a struct; name a field .* 'text\.inner\.x' or 'text\.inner\.y'$"
    with pytest.raises(TableError, match=says):
        read(tmp_path, content, "parquet", columns={"text": text, "label": "label"})
    assert read(tmp_path, content, "parquet", columns={"text": "text.inner.y", "label": "label"})["text"] == ["b"]


def test_a_parquet_column_that_is_named_like_a_field_of_a_struct(tmp_path: Path) -> None:
    content = parquet(tmp_path, {"a.b": ["x"], "a": [{"b": "y", "c": "z"}], "label": [1]})
    with pytest.raises(TableError, match=r"2 columns 'a\.b', counting fields inside structs; rename one$"):
        read(tmp_path, content, "parquet", columns={"text": "a.b", "label": "label"})
    assert read(tmp_path, content, "parquet", columns={"text": "a.c", "label": "label"})["text"] == ["z"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"format": "jsonl", "header": False}, "header means nothing for format=jsonl; leave it out"),
        ({"format": "parquet", "quoting": "none"}, "quoting means nothing for format=parquet"),
        ({"format": "parquet", "encoding": "cp1252"}, "encoding means nothing for format=parquet"),
        ({"format": "json", "columns": {"text": 0}}, r"columns\.text: 0 is a position, but json has names only"),
        ({"columns": {"text": "{title"}}, "brace that stands alone"),
        ({"columns": {"text": "{}"}}, "brace that stands alone"),
        ({"columns": {"text": "{{title}}"}}, "names no column"),
        ({"columns": {"text": "text", "label": "{a}"}}, "only text can be a template"),
        ({"header": False, "columns": {"text": "{title}", "label": 0}}, "'title' is a name, but without a header"),
        ({"header": False, "columns": {"text": "1", "label": 0}}, "'1' is a name, but without a header"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        SourceConfig.model_validate({"url": "raw", **options})


def test_a_compressed_member_of_each_format(tmp_path: Path) -> None:
    contents = {
        "csv": b"text,label\na,1\n",
        "json": b'[{"text": "a", "label": 1}]',
        "jsonl": b'{"text": "a", "label": 1}',
        "parquet": parquet(tmp_path, {"text": ["a"], "label": [1]}),
    }
    for kind, content in contents.items():
        (tmp_path / f"{kind}.gz").write_bytes(gzip.compress(content))
        (tmp_path / kind).mkdir()
        source = SourceConfig.model_validate(
            {"url": str(tmp_path / f"{kind}.gz"), "member": f"data.{kind}", "format": kind}
        )
        facts = download(source, tmp_path / "downloads", None, tmp_path / kind)
        assert facts["columns"] == ["row", "text", "label"]
        table = pq.read_table(tmp_path / kind / "table.parquet").to_pydict()
        assert table == {"row": [1], "text": ["a"], "label": ["1"]}
