"""As many entries as Alpaca has go through download, validation and split."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[2]
ENTRIES = 52_002

STEPS = """
import sys, time
from pathlib import Path
from components.data.download import download
from components.data.validation.rules import InstructionValidationConfig
from components.data.split.instructions import split_instructions
from components.data.validation.instructions import validate_instructions
from components.data.sources import InstructionSourceConfig
from components.data.split.config import InstructionSplitConfig
from components.prompts import TEMPLATES

folder = Path(sys.argv[1])
steps = {
    "download": lambda out: download(
        InstructionSourceConfig(url=str(folder / "alpaca.json")), folder / "downloads", None, out),
    "validate": lambda out: validate_instructions(
        folder / "download/table.parquet", InstructionValidationConfig(), TEMPLATES["alpaca"],
        "sample://vocabulary.tiktoken", None, 1024, out),
    "split": lambda out: split_instructions(folder / "validate/table.parquet", InstructionSplitConfig(), out),
}
for name, step in steps.items():
    (folder / name).mkdir()
    started = time.perf_counter()
    step(folder / name)
    print(name, round(time.perf_counter() - started, 1))
"""


def write_entries(path: Path) -> None:
    """Write entries of about Alpaca's lengths, of which six in ten have no input and one in fifty is a copy."""
    draw = np.random.default_rng(0)
    words = np.array([f"{first}{second}" for first in "bcdfghklmnprst" for second in ("an", "em", "ist", "ol", "ur")])
    texts = [" ".join(words[draw.integers(0, len(words), size)]) for size in draw.integers(3, 60, 3 * ENTRIES)]
    rows = [
        {
            "instruction": f"{row} {texts[3 * row][:60]}" if row % 50 else "the same",
            "input": texts[3 * row + 1] if row % 5 < 2 and row % 50 else "",
            "output": texts[3 * row + 2],
        }
        for row in range(ENTRIES)
    ]
    path.write_text(json.dumps(rows, indent=2))


@pytest.mark.slow
def test_as_many_entries_as_alpaca_has(tmp_path: Path) -> None:
    write_entries(tmp_path / "alpaca.json")
    command = [sys.executable, "-c", STEPS, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    print(f"seconds: {done.stdout.split()}")  # noqa: T201
    rows = {name: pq.read_metadata(tmp_path / f"split/{name}.parquet").num_rows for name in ("train", "validation")}
    assert pq.read_metadata(tmp_path / "validate/table.parquet").num_rows == ENTRIES
    assert rows["train"] == pytest.approx(0.85 * ENTRIES, rel=0.04), "one entry in fifty is the same, and in one split"
    assert rows["validation"] == pytest.approx(0.05 * ENTRIES, abs=0.03 * ENTRIES)
