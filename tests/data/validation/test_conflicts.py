"""Texts that are labelled differently: named, and settled as the rules say, never by which row comes first."""

import tracemalloc
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from components.core.errors import DataRejected
from components.data.validation.labelled import validate
from components.data.validation.rules import ValidationConfig

LABELS = ["bad", "fair", "good"]


def table(*more: tuple[str, str]) -> pd.DataFrame:
    rows = [(f"text {number}", LABELS[number % 3]) for number in range(60)]
    frame = pd.DataFrame([*more, *rows], columns=["text", "label"])
    frame.insert(0, "row", range(1, len(frame) + 1))
    return frame


def checked(frame: pd.DataFrame, folder: Path, **sections: Any) -> tuple[dict[str, Any], pd.DataFrame]:
    frame.to_parquet(folder / "in.parquet", index=False)
    rules = ValidationConfig.model_validate({"labels": LABELS, "duplicates": {"max_share": 1}, **sections})
    facts = validate(folder / "in.parquet", rules, folder)
    finding = next(each for each in facts["expectations"] if each["name"] == "conflicts")
    return finding | {"warnings": facts["warnings"]}, pd.read_parquet(folder / "table.parquet")


CONFLICT = [("ok", "bad"), ("ok", "good"), ("hm", "good"), ("ok", "good"), ("hm", "fair")]


@pytest.mark.long
@pytest.mark.parametrize(
    ("use", "left"),
    [("majority", ["good", "good"]), ("drop", []), ("keep", ["bad", "good", "good", "good", "fair"])],
)
@pytest.mark.parametrize("ordered", [False, True])
def test_each_way_to_settle_them(tmp_path: Path, use: str, left: list[str], ordered: bool) -> None:
    finding, kept = checked(table(*CONFLICT), tmp_path, conflicts=use, ordered=ordered)
    assert kept["label"][: len(left)].tolist() == left
    assert len(kept) == 60 + len(left)
    assert finding["success"] is False
    assert finding["observed"] == "2 texts in 5 rows"
    assert finding["failing_rows"] == 5 - len(left)
    warning = next(each for each in finding["warnings"] if each.startswith("conflicts"))
    assert (
        '"ok" is "bad" 1 times, "good" 2 times; "hm" is "fair" 1 times, "good" 1 times; rows 1, 2, 3, 4, 5' in warning
    )


@pytest.mark.ci
def test_the_majority_decides_unless_told_otherwise(tmp_path: Path) -> None:
    _, kept = checked(table(*CONFLICT), tmp_path)
    assert kept["label"][:2].tolist() == ["good", "good"]
    rejected = pd.read_parquet(tmp_path / "rejected.parquet")
    assert rejected["row"].tolist() == [1, 3, 5]
    assert set(rejected["reason"]) == {"conflicts"}


@pytest.mark.ci
def test_the_first_label_does_not_win_where_copies_are_left_out(tmp_path: Path) -> None:
    tied = [("ok", label) for label in ["good", "bad"] * 15]
    _, kept = checked(table(*tied), tmp_path, duplicates={"max_share": 0.2})
    assert "ok" not in set(kept["text"])
    _, kept = checked(table(*tied), tmp_path, duplicates={"max_share": 0.2}, conflicts="keep")
    assert kept.loc[kept["text"] == "ok", "label"].tolist() == ["good", "bad"]


@pytest.mark.ci
def test_they_may_stop_the_flow(tmp_path: Path) -> None:
    with pytest.raises(DataRejected, match=r"data rejected by conflicts: .*Correct the labels, or set "):
        checked(table(*CONFLICT), tmp_path, conflicts={"severity": "error"})


@pytest.mark.ci
def test_repeats_with_one_label_are_none(tmp_path: Path) -> None:
    finding, kept = checked(table(*[("ok", "good")] * 9), tmp_path)
    assert (finding["success"], finding["failing_rows"], len(kept)) == (True, 0, 69)


@pytest.mark.ci
def test_given_splits_are_left_as_they_are(tmp_path: Path) -> None:
    frame = table(("ok", "bad"), ("ok", "good"), ("ok", "good")).assign(split="train")
    frame.loc[:1, "split"] = "test"
    _, kept = checked(frame, tmp_path)
    assert len(kept) == 63


@pytest.mark.slow
def test_many_texts_in_conflict_are_not_all_taken_apart_to_name_three(tmp_path: Path) -> None:
    many = [(f"text in conflict {number}", label) for number in range(20_000) for label in ("good", "bad")]
    frame = table(*many)
    tracemalloc.start()
    finding, _ = checked(frame, tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert finding["observed"] == "20,000 texts in 40,000 rows"
    assert peak < 25 << 20, "8 MiB, and 51 where each text has a table of its own"
