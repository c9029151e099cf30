"""Tables beyond a batch: the same outcome as in one piece, and memory that does not grow with the texts."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from components.core.errors import DataRejected
from components.data.batches import ROWS, batches_of, hashed, write_batches
from components.data.validation.labelled import validate
from components.data.validation.rules import ValidationConfig

ROOT = Path(__file__).parents[2]
CLASSES = ["one", "two", "three"]


def table(folder: Path, rows: int) -> Path:
    """Distinct texts, and in every thousand rows a blank one, a missing one and one with a wrong label."""
    place = np.arange(rows)
    frame = pd.DataFrame({"row": place + 1, "text": "text " + pd.Series(place).astype(str), "label": "two"})
    frame.loc[place % 2 == 0, "label"] = "one"
    frame.loc[place % 1000 == 1, "text"] = " "
    frame.loc[place % 1000 == 2, "text"] = None
    frame.loc[place % 1000 == 3, "label"] = "four"
    frame.to_parquet(folder / "in.parquet", index=False, row_group_size=30_000)
    return folder / "in.parquet"


def test_parts_are_added_up(tmp_path: Path) -> None:
    rows = 2 * ROWS + 10_000
    rules = ValidationConfig.model_validate({"labels": ["one", "two"], "label_in_set": {"severity": "warn"}})
    facts = validate(table(tmp_path, rows), rules, tmp_path)
    wrong = rows // 1000
    assert facts["rejected"] == {"label_in_set": wrong, "text_not_null": wrong, "text_not_blank": wrong}
    assert (facts["rows_in"], facts["rows_out"]) == (rows, rows - 3 * wrong)
    assert facts["class_counts"] == {"one": rows // 2 - wrong, "two": rows // 2 - 2 * wrong}
    accepted = pd.read_parquet(tmp_path / "table.parquet")
    kept = [place for place in range(rows) if place % 1000 not in (1, 2, 3)]
    assert accepted["row"].tolist() == [place + 1 for place in kept]
    rejected = pd.read_parquet(tmp_path / "rejected.parquet")
    assert rejected["row"].tolist() == [1000 * group + row for group in range(wrong) for row in (2, 3, 4)]
    assert rejected["reason"].tolist() == ["text_not_blank", "text_not_null", "label_in_set"] * wrong

    evaluations = {
        each["expectation"]: each for each in json.loads((tmp_path / "report.json").read_text())["evaluations"]
    }
    blank = evaluations["expect_column_values_to_match_regex"]
    assert blank["result"] == {
        "element_count": rows,
        "missing_count": wrong,
        "unexpected_count": wrong,
        "unexpected_percent": pytest.approx(100 * wrong / (rows - wrong)),
    }
    assert blank["success"] is False
    assert evaluations["expect_column_value_lengths_to_be_between"]["success"] is True
    assert evaluations["expect_column_proportion_of_unique_values_to_be_between"]["result"]["observed_value"] == 1.0


@pytest.mark.ci
def test_copies_are_found_across_parts_and_only_some_rows_are_shown(tmp_path: Path) -> None:
    rows = ROWS + 1000
    frame = pd.DataFrame({"row": range(1, rows + 1), "text": [f"text {row % ROWS}" for row in range(rows)]})
    frame["label"] = ["one", "two"] * (rows // 2)
    frame.to_parquet(tmp_path / "in.parquet", index=False)
    rules = ValidationConfig.model_validate(
        {"labels": ["one", "two"], "duplicates": {"max_share": 0, "severity": "error"}}
    )
    with pytest.raises(DataRejected) as caught:
        validate(tmp_path / "in.parquet", rules, tmp_path)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith(f"data rejected by duplicates: 1,000 of {rows:,} rows fail.")
    shown = [line.split()[1] for line in lines if line.startswith("  row ")]
    assert shown == [str(row) for row in range(ROWS + 1, ROWS + 21)]
    assert lines[-1] == "  and 980 further rows; rejected.parquet has all of them"
    assert pq.read_metadata(tmp_path / "rejected.parquet").num_rows == 1000
    assert not (tmp_path / "table.parquet").exists()


@pytest.mark.ci
def test_long_rows_make_small_batches(tmp_path: Path) -> None:
    texts = pd.DataFrame({"text": [str(row) * 10_000 for row in range(1000, 4000)]})
    texts.to_parquet(tmp_path / "long.parquet")
    with pq.ParquetFile(tmp_path / "long.parquet") as file:
        sizes = [batch.num_rows for batch in batches_of(file)]
        assert sum(sizes) == 3000
        assert max(sizes) < 2000
        again = write_batches(batches_of(file), file.schema_arrow, tmp_path / "copy.parquet")
    assert again == 3000
    assert pd.read_parquet(tmp_path / "copy.parquet").equals(texts)


@pytest.mark.ci
def test_conflicts_are_found_in_the_last_part(tmp_path: Path) -> None:
    rows = ROWS + 1000
    frame = pd.DataFrame({"row": range(1, rows + 1), "text": [f"text {row}" for row in range(rows)]})
    frame["label"] = ["one", "two"] * (rows // 2)
    frame.loc[rows - 2 :, "text"] = "said twice"
    frame.to_parquet(tmp_path / "in.parquet", index=False)
    facts = validate(tmp_path / "in.parquet", ValidationConfig(labels=["one", "two"]), tmp_path)
    assert facts["rejected"] == {"conflicts": 2}
    rejected = pd.read_parquet(tmp_path / "rejected.parquet")
    assert rejected["row"].tolist() == [rows - 1, rows]


@pytest.mark.ci
def test_equal_texts_have_equal_hashes_in_every_process() -> None:
    texts = np.array(["", "a", "b", "a", "\u00e9\0", "\u00e9"], object)
    found = hashed(texts)
    assert len(set(found)) == 5
    assert found[1] == found[3]
    code = "import numpy as np; from components.data.batches import hashed; print(hashed(np.array(['a'], object))[0])"
    other = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(other.stdout) == found[1]


STEP = """
import sys
from pathlib import Path
import numpy, pandas, pyarrow.parquet, requests
from components.data.download import download
from components.data.validation.rules import ValidationConfig
from components.data.sources import SourceConfig
from components.data.split.config import BalanceConfig, SplitConfig
from components.data.split.labelled import split
from components.data.validation.labelled import validate
from components.data.validation.engine import Engine

def peak():
    # Not ru_maxrss, which a process takes over from the one that started it.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024

what, source, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
labels = sys.argv[4:]
if what == "validate":
    Engine()
before = peak()
if what == "download":
    download(SourceConfig(url=str(source)), out.parent / "downloads", None, out)
elif what == "validate":
    validate(source, ValidationConfig(labels=labels), out)
else:
    split(source, SplitConfig(), BalanceConfig(method="undersample"), labels, out)
print(peak() - before)
"""


def write_csv(path: Path, rows: int) -> None:
    """Write texts of about 60 characters, a twentieth of them copies of another."""
    draw = np.random.default_rng(0)
    words = np.array(["alpha ", "bravo ", "charlie ", "delta ", "echo ", "foxtrot ", "golf ", "hotel "], object)
    texts = words[draw.integers(0, 8, rows)]
    for _ in range(7):
        texts = texts + words[draw.integers(0, 8, rows)]
    texts = texts + np.char.mod("%x", draw.integers(0, 2**40, rows)).astype(object)
    labels = np.array(CLASSES, object)[draw.integers(0, 3, rows)]
    copies, originals = draw.integers(0, rows, rows // 20), draw.integers(0, rows, rows // 20)
    for column in (texts, labels):
        column[copies] = column[originals]
    lines = texts + "," + labels
    path.write_text("text,label\n" + "\n".join(lines.tolist()) + "\n")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is read from /proc")
def test_a_million_and_a_half_rows_are_never_in_memory(tmp_path: Path) -> None:
    """Read whole, as they once were, these steps took 278, 1,319 and 1,306 MB."""
    write_csv(tmp_path / "big.csv", 1_500_000)
    sources = {"download": "big.csv", "validate": "download/table.parquet", "split": "validate/table.parquet"}
    most = {"download": 150, "validate": 400, "split": 350}
    grown: dict[str, Any] = {}
    for what, source in sources.items():
        (tmp_path / what).mkdir()
        command = [sys.executable, "-c", STEP, what, str(tmp_path / source), str(tmp_path / what), *CLASSES]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        grown[what] = int(done.stdout)
    print(f"peak memory grew by (MB): {grown}")  # noqa: T201
    assert pq.read_metadata(tmp_path / "validate/table.parquet").num_rows == 1_500_000
    for what, limit in most.items():
        assert grown[what] < limit, grown
