"""Files of records, of labelled texts, instructions and conversations."""

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from components.data.sources import InstructionSourceConfig, SourceConfig
from components.data.tables import read_batches
from components.data.turns import recognised
from tests.fuzz.targets import Target

LABELLED: list[dict[str, Any]] = [
    {"text": "free prize, call now", "label": "spam"},
    {"text": 'he said "no"\nand left', "label": "ham"},
    {"text": "안녕하세요", "label": "ham"},
]
ASKED: list[dict[str, Any]] = [
    {"instruction": "Name a colour.", "input": "", "output": "Red."},
    {"instruction": "Spell it.", "input": "cat", "output": "c-a-t"},
]
TURNS = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
TOLD: list[dict[str, Any]] = [{"messages": [*TURNS, {"role": "assistant", "content": "Hello!"}]}]
SHARED: list[dict[str, Any]] = [
    {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}
]
ANSWERED: list[dict[str, Any]] = [{"prompt": TURNS, "completion": [{"role": "assistant", "content": "Hello!"}]}]
BEFORE = [{**ASKED[0], "history": [["Hi", "Hello!"]]}]
Rows = Sequence[dict[str, Any]]


def as_json(rows: Rows) -> bytes:
    return json.dumps(rows, ensure_ascii=False).encode()


def as_lines(rows: Rows) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def as_parquet(rows: Rows) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows)), buffer)
    return buffer.getvalue()


def as_csv(separator: str) -> bytes:
    fields = [["text", "label"], ["free prize", "spam"], ['"he said, ""no""\nand left"', "ham"], ["안녕", "ham"]]
    return "".join(separator.join(row) + "\n" for row in fields).encode()


def labelled(form: str, **keys: Any) -> Callable[[Path, bytes], object]:
    """Return what reads a file of labelled texts in a format."""
    source = SourceConfig.model_validate({"url": f"data.{form}", "format": form, **keys})

    def parse(folder: Path, data: bytes) -> object:
        (path := folder / f"data.{form}").write_bytes(data)
        return sum(batch.num_rows for batch in read_batches(path, source))

    return parse


def asked(form: str) -> Callable[[Path, bytes], object]:
    """Return what reads a file of instructions or conversations in a format."""
    source = InstructionSourceConfig.model_validate({"url": f"data.{form}", "format": form})

    def parse(folder: Path, data: bytes) -> object:
        (path := folder / f"data.{form}").write_bytes(data)
        return sum(batch.num_rows for batch in read_batches(path, recognised(path, source)))

    return parse


ARROW = 5 << 30
"""Bytes that Arrow may take for a page that a Parquet file announces, before it finds that there is none: 2 GiB, and as
much again."""
ENTRIES = (ASKED, TOLD, SHARED, ANSWERED, BEFORE)
TARGETS = {
    "csv": Target(labelled("csv"), lambda: [as_csv(",")]),
    "tsv": Target(labelled("tsv", quoting="lenient"), lambda: [as_csv("\t")]),
    "json": Target(labelled("json"), lambda: [as_json(LABELLED)]),
    "jsonl": Target(labelled("jsonl"), lambda: [as_lines(LABELLED)]),
    "parquet": Target(labelled("parquet"), lambda: [as_parquet(LABELLED)], memory=ARROW),
    "asked-csv": Target(asked("csv"), lambda: [b"instruction,input,output\nName it.,,Red\nSpell,cat,c-a-t\n"]),
    "asked-json": Target(asked("json"), lambda: [as_json(rows) for rows in ENTRIES]),
    "asked-jsonl": Target(asked("jsonl"), lambda: [as_lines(rows) for rows in ENTRIES]),
    "asked-parquet": Target(asked("parquet"), lambda: [as_parquet(rows) for rows in ENTRIES], memory=ARROW),
}
