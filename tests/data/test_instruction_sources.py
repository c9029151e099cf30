"""Instructions with inputs and responses, read from every format; what is wrong is named with its place."""

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from components.core.errors import DataRejected, TableError
from components.core.records import fingerprint
from components.data.batches import schema
from components.data.download import download, source_identity
from components.data.sources import InstructionSourceConfig
from components.data.tables import read_batches

ENTRIES = [
    {"instruction": "Name a colour.", "input": "", "output": "Blue."},
    {"instruction": "Add.", "input": "3 + 4", "output": "7"},
    {"instruction": 'Say "Zoë",\nthen {nothing}.', "input": "a,b\tc", "output": " 다섯 \u2028"},
]
TABLE = {"row": [1, 2, 3], **{name: [entry[name] for entry in ENTRIES] for name in ENTRIES[0]}}
FORMATS = ["json", "jsonl", "csv", "tsv", "parquet"]


def write(path: Path, entries: list[dict[str, Any]], kind: str) -> None:
    if kind == "json":
        path.write_text(json.dumps(entries, indent=2, ensure_ascii=False), encoding="utf-8")
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(entries), path)
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(entries[0]), delimiter="," if kind == "csv" else "\t")
            writer.writeheader()
            writer.writerows(entries)


def read(folder: Path, content: list[dict[str, Any]] | bytes, kind: str = "json", **options: Any) -> dict[str, Any]:
    path = folder / f"data.{kind}"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        write(path, content, kind)
    source = InstructionSourceConfig.model_validate({"url": str(path), "format": kind, **options})
    table: dict[str, Any] = pa.Table.from_batches(read_batches(path, source), schema(source.table_columns)).to_pydict()
    return table


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_holds_the_same(tmp_path: Path, kind: str) -> None:
    assert read(tmp_path, ENTRIES, kind) == TABLE


@pytest.mark.parametrize("kind", FORMATS)
def test_names_templates_and_tasks(tmp_path: Path, kind: str) -> None:
    entries = [
        {"q": "Which?", "title": "T", "body": "B", "a": "x", "kind": "choice", "id": 7},
        {"q": "Why?", "title": None, "body": None, "a": "y", "kind": None, "id": 8},
    ]
    columns = {"instruction": "{q} ({id})", "input": "{title}: {body}", "output": "{a}!", "task": "kind"}
    assert read(tmp_path, entries, kind, columns=columns) == {
        "row": [1, 2],
        "instruction": ["Which? (7)", "Why? (8)"],
        "input": ["T: B", ""],
        "output": ["x!", "y!"],
        "task": ["choice", None],
    }


@pytest.mark.parametrize("kind", FORMATS)
def test_an_input_that_is_not_there_is_empty(tmp_path: Path, kind: str) -> None:
    entries = [{"instruction": "a", "output": "b", "context": "c"}, {"instruction": "d", "output": "e", "context": "f"}]
    expected = {"row": [1, 2], "instruction": ["a", "d"], "input": ["", ""], "output": ["b", "e"]}
    assert read(tmp_path, entries, kind) == expected
    named = {"instruction": "instruction", "output": "output"}
    assert read(tmp_path, entries, kind, columns=named) == expected
    if kind != "parquet":
        assert read(tmp_path, [{**entries[0], "input": None}, entries[1] | {"input": "x"}], kind)["input"] == ["", "x"]
    for wanted in ("contxt", "{input} {context}"):
        with pytest.raises(DataRejected, match=r"no column input: source\.columns\.input (is|names) '(contxt|input)'"):
            read(tmp_path, entries, kind, columns={**named, "input": wanted})


def test_some_records_without_an_input_a_null_and_numbers(tmp_path: Path) -> None:
    entries = [{"instruction": "a", "output": 1.0}, {"instruction": "b", "input": None, "output": True}]
    entries += [{"instruction": "c", "input": "d"}]
    found = read(tmp_path, entries, "jsonl")
    assert found["input"] == ["", "", "d"]
    assert found["output"] == ["1", "true", None]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("field", ["instruction", "output"])
def test_a_file_without_a_column_is_rejected_by_name(tmp_path: Path, kind: str, field: str) -> None:
    entries = [{**{name: value for name, value in entry.items() if name != field}, "x": "y"} for entry in ENTRIES]
    with pytest.raises(
        DataRejected, match=rf"data\.{kind} has no column {field}: source\.columns\.{field} is"
    ) as caught:
        read(tmp_path, entries, kind)
    assert str(caught.value).endswith(f"correct source.columns.{field}")
    assert "'x'" in str(caught.value)


def test_positions_without_a_header(tmp_path: Path) -> None:
    options = {"header": False, "columns": {"instruction": 1, "input": "{2}{0}", "output": 3}}
    found = read(tmp_path, b"a,b,c,d\ne,f,,\n", "csv", **options)
    assert found == {"row": [1, 2], "instruction": ["b", "f"], "input": ["ca", "e"], "output": ["d", None]}
    with pytest.raises(DataRejected, match=r"no column output: source\.columns\.output is 3, and the columns there"):
        read(tmp_path, b"a,b,c\n", "csv", **options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"columns": {"output": "a"}}, "instruction must be mapped too"),
        ({"columns": {}}, "instruction and output must be mapped too"),
        ({"columns": {"instruction": "a", "output": "a"}}, "instruction and output are the same column"),
        ({"columns": {"instruction": "a", "output": "b", "text": "c"}}, "text"),
        ({"columns": {"instruction": "a", "output": "b", "task": "{c}"}}, "only instruction, input, output can be"),
        ({"columns": {"instruction": 0, "output": "b"}}, "0 is a position, but json has names only"),
        ({"columns": {"instruction": "{a", "output": "b"}}, "brace that stands alone"),
        ({"format": "csv", "header": False}, "'instruction' is a name, but without a header"),
        ({"label_map": {"a": "b"}}, "label_map"),
        ({"url": "ftp://example.org/a"}, "starts with ftp"),
        ({"quoting": "none"}, "quoting means nothing for format=json"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        InstructionSourceConfig.model_validate({"url": "data.json", **options})


# Malformed files


def long_list(entries: int, broken: str) -> str:
    """A list as `json.dumps(indent=1)` writes it, five lines an entry, with something else for the last entry."""
    good = [{"instruction": f"Ins {row}", "input": "", "output": "out"} for row in range(entries)]
    return json.dumps(good, indent=1)[:-2] + ",\n " + broken + "\n]\n"


@pytest.mark.ci
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_malformed_json_deep_in_a_file_names_line_and_column(tmp_path: Path, mark: str) -> None:
    broken = '{"instruction": "Ins", "input": "" "output": "x"}'
    written = mark + long_list(50_000, broken)
    with pytest.raises(TableError, match=r"^data\.json is not JSON: line (\d+), column (\d+): Expecting") as caught:
        read(tmp_path, written.encode())
    line, column = 1 + 5 * 50_000 + 1, 1 + broken.index('"output"') + 1
    assert f"line {line:d}, column {column:d}:" in str(caught.value)
    assert written.split("\n")[line - 1][column - 1 :].startswith('"output"')
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ('"text"', r"record 20001 holds a text, not an object with the columns$"),
        ("null", r"record 20001 holds null, not an object"),
        ('["a", "b"]', r"record 20001 holds a list, not an object"),
        ('{"instruction": {"a": 1}, "output": "b"}', r"column 'instruction' of record 20001 holds a dict, not text"),
        ('{"instruction": "a", "input": ["x"], "output": "b"}', r"column 'input' of record 20001 holds a list"),
        ('{"instruction": "a", "output": "\\ud83d"}', "record 20001 has a .u escape that is half a character"),
        ('{"instruction": "a", "output": "b"', r"is not JSON: line 100003, column 1: Expecting ',' delimiter"),
        ('{"instruction": "a\nb"}', r"is not JSON: line 100002, column 20: Invalid control character"),
    ],
)
def test_an_entry_that_is_none_names_its_record(tmp_path: Path, broken: str, says: str) -> None:
    with pytest.raises(TableError, match=says) as caught:
        read(tmp_path, long_list(20_000, broken).encode())
    assert "\n" not in str(caught.value)


def test_a_malformed_line_is_named(tmp_path: Path) -> None:
    good = b'{"instruction": "a", "output": "b"}\n'
    with pytest.raises(TableError, match=r"data\.jsonl: line 20002 is not JSON: .* at column 22; correct or remove it"):
        read(tmp_path, good * 20_000 + b"\n" + b'{"instruction": "a", "o\n' + good, "jsonl")


def test_other_shapes_of_json(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"holds one object, .*write the list under 'data' to a file of its own"):
        read(tmp_path, json.dumps({"version": 1, "data": ENTRIES}).encode())
    assert read(tmp_path, b"\xef\xbb\xbf" + json.dumps(ENTRIES).encode()) == TABLE
    assert read(tmp_path, b"[]") == {"row": [], "instruction": [], "input": [], "output": []}
    with pytest.raises(TableError, match=r"data\.json is not utf-8: byte 0 \(line 1\)"):
        read(tmp_path, json.dumps(ENTRIES).encode("utf-16"))


# The step


@pytest.mark.parametrize("kind", FORMATS)
def test_the_download_keeps_the_file_and_writes_the_table(tmp_path: Path, kind: str) -> None:
    path, out = tmp_path / f"data.{kind}", tmp_path / "out"
    out.mkdir()
    write(path, ENTRIES, kind)
    source = InstructionSourceConfig.model_validate({"url": str(path), "format": kind})
    facts = download(source, tmp_path / "downloads", None, out)
    assert facts["rows"] == 3
    assert facts["columns"] == ["row", "instruction", "input", "output"]
    assert facts["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (out / "raw" / path.name).read_bytes() == path.read_bytes()
    assert pq.read_table(out / "table.parquet").to_pydict() == TABLE


def test_identity_follows_the_file_and_the_mapping(tmp_path: Path) -> None:
    write(tmp_path / "data.json", ENTRIES, "json")
    source = InstructionSourceConfig(url=str(tmp_path / "data.json"))
    first = fingerprint(source_identity(source, None))
    assert fingerprint(source_identity(source.model_copy(update={"timeout": 7}), None)) == first
    renamed = source.model_copy(update={"columns": {"instruction": "input", "output": "output"}})
    assert fingerprint(source_identity(renamed, None)) != first
    write(tmp_path / "data.json", ENTRIES[:2], "json")
    assert fingerprint(source_identity(source, None)) != first


def test_the_real_file_by_url_through_the_mirror(tmp_path: Path, shared_data: Path) -> None:
    source = InstructionSourceConfig(
        url="https://raw.githubusercontent.com/rasbt/LLMs-from-scratch/main/ch07/01_main-chapter-code/instruction-data.json",
        sha256="7e09a9af353722ca15c18bc580f093f9c39d3178335a75177319cb1e1d163944",
    )
    facts = download(source, tmp_path / "downloads", shared_data, tmp_path)
    raw = json.loads((shared_data / "instruction-data.json").read_text(encoding="utf-8"))
    assert facts["rows"] == len(raw) == 1100
    table = pq.read_table(tmp_path / "table.parquet").to_pylist()
    assert table == [{"row": row, **entry} for row, entry in enumerate(raw, start=1)]
