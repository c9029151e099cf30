"""Columns of a file that nothing is made of are named; conversations are told how to become instructions."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.core.records import Facts
from components.data.download import download
from components.data.sources import FileSource, InstructionSourceConfig, SourceConfig

ENTRY = {"id": 7, "system": "Be brief.", "instruction": "Add.", "input": "1 + 1", "output": "2", "history": "x"}
LABELLED = {"id": 7, "title": "T", "text": "hello", "date": "2024", "label": "ham"}


def facts(folder: Path, rows: list[dict[str, Any]], kind: str, source: type[FileSource], **options: Any) -> Facts:
    path = folder / f"data.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "json":
        path.write_text(json.dumps(rows))
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        separator = {"csv": ",", "tsv": "\t"}[kind]
        lines = [separator.join(rows[0])] if options.get("header", True) else []
        path.write_text("\n".join([*lines, *(separator.join(map(str, row.values())) for row in rows)]))
    (folder / "out").mkdir()
    config = source.model_validate({"url": str(path), "format": kind, **options})
    return download(config, folder / "downloads", None, folder / "out")


@pytest.mark.parametrize("kind", ["csv", "tsv", "json", "jsonl", "parquet"])
def test_columns_of_instructions_that_would_be_dropped_are_named(tmp_path: Path, kind: str) -> None:
    found = facts(tmp_path, [ENTRY], kind, InstructionSourceConfig)
    # A delimited file has no turns, of which a system message could be one; this history is none in any.
    unused = ["id", "system", "history"] if kind in ("csv", "tsv") else ["id", "history"]
    assert found["unused"] == unused
    assert found["notes"] == [
        f"data.{kind}: {len(unused)} columns are not used: {', '.join(unused)}; "
        "a template in source.columns can take in more than one"
    ]


@pytest.mark.parametrize("kind", ["csv", "tsv", "json", "jsonl", "parquet"])
def test_what_a_template_or_a_mapping_takes_is_used(tmp_path: Path, kind: str) -> None:
    columns = {"instruction": "{system}\n{instruction}", "input": "input", "output": "output", "task": "history"}
    assert facts(tmp_path, [ENTRY], kind, InstructionSourceConfig, columns=columns)["unused"] == ["id"]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_columns_of_labelled_texts(tmp_path: Path, kind: str) -> None:
    found = facts(tmp_path, [LABELLED], kind, SourceConfig, columns={"text": "{title} {text}", "label": "label"})
    assert found["unused"] == ["id", "date"]


@pytest.mark.ci
def test_a_column_that_a_late_record_has_and_one_that_is_used_from_inside(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"text": "a", "meta": {"label": "b", "x": 1}}] * 20_000
    columns = {"text": "text", "label": "meta.label"}
    found = facts(tmp_path, [*rows, {**rows[0], "late": 1}], "jsonl", SourceConfig, columns=columns)
    assert found["unused"] == ["late"]


def test_positions_and_files_of_which_all_is_used(tmp_path: Path) -> None:
    options = {"header": False, "columns": {"text": 1, "label": 0}}
    found = facts(tmp_path, [{"a": "ham", "b": "hello", "c": "x"}], "csv", SourceConfig, **options)
    assert (found["unused"], len(found["notes"])) == (["2"], 1)
    (tmp_path / "again").mkdir()
    found = facts(tmp_path / "again", [{"text": "a", "label": "b"}], "csv", SourceConfig)
    assert (found["unused"], found["notes"]) == ([], [])
