"""Tables of responses, and a judging of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from components.core.records import Facts
from components.judging.config import JudgeConfig
from components.judging.judge import VERDICTS, judge
from tests.judging.serving import OllamaServer

ROWS = 12
ALL = 4 * ROWS
"""Questions about the model's responses, the start's, the references, and other rows' references."""


def write_responses(path: Path, responses: list[str]) -> Path:
    """Write a table of responses whose references are other texts; row numbers are not positions."""
    rows = range(1, len(responses) + 1)
    table = {
        "row": [row * 10 for row in rows],
        "instruction": [f"Say the number {row}." for row in rows],
        "input": ["" if row % 2 else f"in words, number {row}" for row in rows],
        "output": [f"The number {row}." for row in rows],
        "model_response": responses,
    }
    pq.write_table(pa.table(table), path)
    return path


class Bench:
    """A folder in which tables are judged again and again, with one file of verdicts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache = folder / "home" / "verdicts.sqlite"
        self.tables = {
            "model": write_responses(folder / "model.parquet", [f"Number {row}!" for row in range(1, ROWS + 1)]),
            "start": write_responses(folder / "start.parquet", [f"Say {row} and" for row in range(1, ROWS + 1)]),
        }
        self.out = folder / "none"
        self.judgings = 0

    def judge(self, server: OllamaServer | None, say: Callable[[str], None] = print, **settings: Any) -> Facts:
        """Judge the tables; what was written last is in `out`, also when it raises."""
        self.judgings += 1
        self.out = self.folder / f"out-{self.judgings}"
        self.out.mkdir()
        quick = {"backoff": 0.01, "timeout": 600, "attempts": 2, "url": server.url if server else None}
        return judge(self.tables, JudgeConfig.model_validate(quick | settings), None, self.cache, self.out, say)

    def verdicts(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = pq.read_table(self.out / VERDICTS).to_pylist()
        return rows
