"""Splits of instructions: the tutorial's cut row by row, and no instruction with its input on two sides."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from components.core.errors import ConfigError
from components.data.download import download
from components.data.sources import InstructionSourceConfig
from components.data.split.config import InstructionFractions, InstructionSplitConfig
from components.data.split.folding import joined, normalize_text
from components.data.split.given_splits import SPLITS
from components.data.split.instructions import split_instructions

NONE = {"exact": 0, "folded": 0, "near": 0}


def made_up(rows: int, tasks: int = 0) -> pd.DataFrame:
    """Distinct entries, half of them without an input, of as many kinds of task."""
    frame = pd.DataFrame({"row": range(1, rows + 1), "instruction": [f"Say {row}." for row in range(rows)]})
    frame["input"] = [f"in {row}" if row % 2 else "" for row in range(rows)]
    frame["output"] = [f"out {row}" for row in range(rows)]
    return frame.assign(task=[f"task {row % tasks}" for row in range(rows)]) if tasks else frame


def run(frame: pd.DataFrame, folder: Path, **options: Any) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
    frame.to_parquet(folder / "table.parquet", index=False)
    config = InstructionSplitConfig.model_validate(options)
    facts = split_instructions(folder / "table.parquet", config, folder)
    return facts, {name: pd.read_parquet(folder / f"{name}.parquet") for name in SPLITS}


# The tutorial's file


@pytest.fixture
def real(tmp_path: Path, shared_data: Path) -> pd.DataFrame:
    out = tmp_path / "download"
    out.mkdir()
    source = InstructionSourceConfig(url=str(shared_data / "instruction-data.json"))
    download(source, tmp_path / "downloads", None, out)
    return pd.read_parquet(out / "table.parquet")


def test_the_book_cuts_the_file_as_the_tutorial_does(tmp_path: Path, real: pd.DataFrame) -> None:
    facts, parts = run(real, tmp_path, order="file")
    # The tutorial's lines, on its list of entries.
    train, test = int(len(real) * 0.85), int(len(real) * 0.1)
    expected = {"train": real[:train], "test": real[train : train + test], "validation": real[train + test :]}
    assert facts["rows"] == {"train": 935, "validation": 55, "test": 110}
    for name, part in parts.items():
        assert part.to_numpy().tolist() == expected[name].to_numpy().tolist()
    assert parts["train"]["row"].tolist() == list(range(1, 936))
    assert parts["test"]["row"].tolist() == list(range(936, 1046))
    assert parts["validation"]["row"].tolist() == list(range(1046, 1101))
    # Which is why it is no measure of anything new: some of what is asked was seen in training.
    assert facts["overlap"] == {
        "validation": {"exact": 4, "folded": 4, "near": 11},
        "test": {"exact": 2, "folded": 2, "near": 7},
        "test_validation": NONE,
    }


@pytest.mark.ci
def test_the_default_leaks_nothing_of_the_real_file(tmp_path: Path, real: pd.DataFrame) -> None:
    facts, parts = run(real, tmp_path)
    assert facts["overlap"] == {"validation": NONE, "test": NONE, "test_validation": NONE}
    assert sorted(pd.concat(parts.values())["row"]) == list(range(1, 1101))
    for name, rows in {"train": 935, "validation": 55, "test": 110}.items():
        assert facts["rows"][name] == pytest.approx(rows, abs=4 * rows**0.5)
    asked = {name: set(zip(part["instruction"], part["input"], strict=True)) for name, part in parts.items()}
    assert not asked["test"] & (asked["train"] | asked["validation"])
    assert parts["train"]["row"].tolist() != sorted(parts["train"]["row"])


# Any table

TEXTS = st.sampled_from(
    ["add 1", "add 2", "Add  1", "ADD 1 ", "a", "b", "ab", "", "ｱ", "ア", "straße", "STRASSE", "\u2028a"]
)


@pytest.mark.ci
@settings(max_examples=40, deadline=None)
@given(
    entries=st.lists(st.tuples(TEXTS, TEXTS, st.sampled_from(["one", "two", None])), min_size=1, max_size=120),
    seed=st.integers(0, 2**32 - 1),
    stratify=st.booleans(),
    with_task=st.booleans(),
)
def test_no_entry_is_on_two_sides_and_every_row_in_one_split(
    entries: list[tuple[str, str, str | None]], seed: int, stratify: bool, with_task: bool
) -> None:
    # Enough distinct ones besides that every split has a row.
    entries = entries + [(f"more {row}", "", "three") for row in range(40)]
    frame = pd.DataFrame(entries, columns=["instruction", "input", "task"]).assign(output="x")
    frame.insert(0, "row", range(1, len(frame) + 1))
    frame = frame if with_task else frame.drop(columns="task")
    with tempfile.TemporaryDirectory() as folder:
        facts, parts = run(frame, Path(folder), seed=seed, stratify=stratify)
        again, _ = run(frame, Path(folder), seed=seed, stratify=stratify)
    assert facts == again
    whole = pd.concat([part.assign(side=name) for name, part in parts.items()])
    assert sorted(whole["row"]) == frame["row"].tolist()
    asked = whole["instruction"].map(normalize_text) + "\0" + whole["input"].map(normalize_text)
    assert (whole.groupby(asked)["side"].nunique() == 1).all()
    assert facts["overlap"] == {"validation": NONE, "test": NONE, "test_validation": NONE}
    columns = [name for name in ("row", "instruction", "input", "output", "task") if name in frame]
    merged = whole.sort_values("row")[columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(merged, frame[columns], check_dtype=False)
    if with_task:
        counted = sum(pd.Series(facts["tasks"][name], dtype=int).reindex(["one", "two", "three"]) for name in SPLITS)
        assert counted.fillna(0).to_dict() == frame["task"].value_counts().reindex(counted.index).fillna(0).to_dict()


@pytest.mark.ci
@settings(max_examples=20, deadline=None)
@given(copies=st.lists(st.integers(0, 30), min_size=60, max_size=120), seed=st.integers(0, 99))
def test_overlap_is_counted_as_it_is(copies: list[int], seed: int) -> None:
    frame = made_up(len(copies)).assign(
        instruction=[f"{'say' if row % 3 else 'SAY '} {copy}" for row, copy in enumerate(copies)], input=""
    )
    with tempfile.TemporaryDirectory() as folder:
        facts, parts = run(frame, Path(folder), group_duplicates=False, stratify=False, seed=seed)
    assert facts["rows"]["train"] == int(len(copies) * 0.85)
    for split, name in (("validation", "validation"), ("test", "test"), ("test_validation", "test")):
        known = parts["validation" if split == "test_validation" else "train"]["instruction"]
        asked = parts[name]["instruction"]
        folded = asked.map(normalize_text).isin(set(known.map(normalize_text))).sum()
        assert facts["overlap"][split] == {"exact": asked.isin(set(known)).sum(), "folded": folded, "near": folded}


def test_numbers_are_not_folded_and_white_space_is() -> None:
    assert normalize_text("What is 3 + 4?") != normalize_text("What is 5 + 6?")
    assert normalize_text(" What\tis\n 3 + 4? ") == normalize_text("WHAT IS ３ + 4?")
    assert normalize_text("an other") != normalize_text("another")
    pairs = joined(["a", "ab", "a", "a b", None], ["bc", "c", "bc", "c", "x"])
    assert len(set(pairs)) == 4
    assert pairs[0] == pairs[2]


@pytest.mark.ci
def test_the_seed_decides_the_split(tmp_path: Path) -> None:
    rows = [run(made_up(300), tmp_path, seed=seed)[1]["test"]["row"].tolist() for seed in (1, 1, 2)]
    assert rows[0] == rows[1] != rows[2]


def test_every_split_gets_its_share_of_each_task(tmp_path: Path) -> None:
    facts, parts = run(made_up(800, tasks=10), tmp_path)
    assert facts["rows"] == {"train": 680, "validation": 40, "test": 80}
    for name, rows in (("train", 68), ("validation", 4), ("test", 8)):
        assert facts["tasks"][name] == {f"task {task}": rows for task in range(10)}
        assert parts[name]["task"].value_counts().to_dict() == facts["tasks"][name]
    loose = run(made_up(800, tasks=10), tmp_path, stratify=False)[0]
    assert loose["rows"] == facts["rows"]
    assert loose["tasks"] != facts["tasks"]


def test_many_small_tasks_do_not_starve_a_split(tmp_path: Path) -> None:
    facts, _ = run(made_up(600, tasks=120), tmp_path)
    assert facts["rows"] == {"train": 510, "validation": 30, "test": 60}


def test_the_splits_have_the_declared_columns(tmp_path: Path) -> None:
    run(made_up(100, tasks=2).assign(weight=1.0), tmp_path)
    strings = [(name, pa.string()) for name in ("instruction", "input", "output", "task")]
    assert pq.read_schema(tmp_path / "test.parquet").equals(pa.schema([("row", pa.int64()), *strings]))
    run(made_up(100), tmp_path)
    assert pq.read_schema(tmp_path / "test.parquet").equals(pa.schema([("row", pa.int64()), *strings[:-1]]))
    assert {path.name for path in tmp_path.iterdir()} >= {"train.parquet", "validation.parquet", "test.parquet"}


# What cannot be


@pytest.mark.parametrize(
    ("rows", "options", "says"),
    [
        (0, {}, "the train split has no row: there are 0 in all"),
        (
            2,
            {},
            r"there are 2 in all; give it a larger split\.fractions\.\w+, or collect more",
        ),
        (5, {"order": "file"}, r"the test split has no row: there are 5 in all; .* or collect more rows$"),
        (10, {"group_duplicates": False, "stratify": False}, "the validation split has no row"),
    ],
)
def test_an_empty_split_is_refused_with_what_helps(tmp_path: Path, rows: int, options: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        run(made_up(rows), tmp_path, **options)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["table.parquet"]


def test_a_table_of_copies_cannot_be_split(tmp_path: Path) -> None:
    frame = made_up(50).assign(instruction="the same", input="")
    with pytest.raises(
        ConfigError,
        match=r'50 of its 50 rows are copies of a text, such as "the same", .*; set split\.group_duplicates=false',
    ):
        run(frame, tmp_path)


def test_a_table_without_a_column(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the table has no column input; check source\.columns"):
        run(made_up(50).drop(columns="input"), tmp_path)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"order": "file", "group_duplicates": True}, "group_duplicates=true: order=file leaves every row"),
        ({"order": "file", "stratify": True}, "stratify=true: order=file leaves every row .*or set order=shuffled"),
        ({"order": "random"}, "'shuffled' or 'file'"),
        ({"fractions": {"train": 0.9}}, r"train \+ validation \+ test must be 1, not 1\.05"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        InstructionSplitConfig.model_validate(options)


def test_a_preset_need_only_say_file() -> None:
    config = InstructionSplitConfig.model_validate({"order": "file"})
    assert (config.group_duplicates, config.stratify) == (False, False)
    assert InstructionSplitConfig.model_validate(config.model_dump()) == config
    assert InstructionSplitConfig() == InstructionSplitConfig(order="shuffled", group_duplicates=True, stratify=True)
    assert InstructionFractions() == InstructionFractions(train=0.85, validation=0.05, test=0.1)


@pytest.mark.ci
def test_rows_beyond_a_batch_keep_their_place(tmp_path: Path) -> None:
    facts, parts = run(made_up(60_000), tmp_path, order="file")
    assert facts["rows"] == {"train": 51_000, "validation": 3_000, "test": 6_000}
    assert np.array_equal(parts["train"]["row"], np.arange(1, 51_001))
    assert parts["validation"]["output"].iloc[-1] == "out 59999"
