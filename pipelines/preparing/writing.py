"""The files that prepared data is written to."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml

from components.data.batches import batches_of
from components.data.hosted.ends import Ends
from components.data.split.copies import WHY, Copies
from pipelines.preparing.form import Form, Row, rows_of

COPIES = "duplicates"
"""How validation calls copies."""
HEAD = """\
# yaml-language-server: $schema=preset.schema.json
# Made by `gradus data`; it reads the files beside it. `gradus check` shows what a run would do.
# The network is small{start}; docs/models.md has others.
"""


class _WithoutAliases(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def write_rows(rows: Iterable[Row], path: Path) -> None:
    """Write rows as JSON Lines."""
    with path.open("x", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_hosted(form: Form, table: Path, ends: Ends, out: Path, split: str) -> dict[str, int]:
    """Write a split as `chat/<split>.jsonl` and `prompt_completion/<split>.jsonl`; count what was changed in texts."""
    stripped = 0
    chat, pairs = out / "chat", out / "prompt_completion"
    for folder in (chat, pairs):
        folder.mkdir(exist_ok=True)
    write_rows(({"messages": form.messages(row)} for row in rows_of(table)), chat / f"{split}.jsonl")

    def examples() -> Iterable[Row]:
        nonlocal stripped
        for row in rows_of(table):
            pair = form.pair(row)
            stripped += pair[1] != pair[1].lstrip()
            prompt, completion = ends.put(pair)
            yield {"prompt": prompt, "completion": completion}

    write_rows(examples(), pairs / f"{split}.jsonl")
    return {"leading blanks of completions taken off": stripped}


def write_left_out(cleaned: Path, copies: Copies, path: Path) -> dict[str, int]:
    """Write the number of each row that was left out, and why, a line each; return how many there are of each."""
    counts: dict[str, int] = {}
    with path.open("x", encoding="utf-8") as file:
        for row in rows_of(cleaned / "rejected.parquet"):
            reason = WHY[0] if row["reason"] == COPIES else row["reason"]
            counts[reason] = counts.get(reason, 0) + 1
            file.write(json.dumps({"row": row["row"], "reason": reason}) + "\n")
        done = 0
        with pq.ParquetFile(cleaned / "table.parquet", pre_buffer=False) as table:
            for batch in batches_of(table, ["row"]):
                why = copies.why[done : done + batch.num_rows]
                numbers = batch["row"].to_numpy()
                done += batch.num_rows
                for place in np.flatnonzero(why >= 0).tolist():
                    file.write(json.dumps({"row": int(numbers[place]), "reason": WHY[why[place]]}) + "\n")
    return counts | {reason: counts.get(reason, 0) + count for reason, count in copies.counts().items() if count}


def write_preset(preset: dict[str, Any], form: str, path: Path) -> None:
    """Write a preset, with a word on what it is."""
    start = " and starts from random weights" if preset["model"]["weights"] == "random" else ""
    text = yaml.dump(
        {"description": f"prepared data ({form})", **preset},
        Dumper=_WithoutAliases,
        sort_keys=False,
        allow_unicode=True,
    )
    path.write_text(HEAD.format(start=start) + text, encoding="utf-8")
