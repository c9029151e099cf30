"""Splits that the source gives: taken as they are, what leaks is counted and left out of train."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError

from components.core.errors import ConfigError
from components.data.download import download, source_identity
from components.data.sources import InstructionSourceConfig, SourceConfig
from components.data.split.config import BalanceConfig, InstructionSplitConfig, SplitConfig
from components.data.split.given_splits import SPLITS
from components.data.split.instructions import split_instructions
from components.data.split.labelled import split
from components.data.validation.labelled import validate
from components.data.validation.rules import ValidationConfig

WORDS = "one two three four five six seven eight nine"


def rows(name: str, count: int) -> pd.DataFrame:
    texts = [f"{name}{'abcdefghij'[number % 10] * (number // 10 + 1)}" for number in range(count)]
    return pd.DataFrame({"text": texts, "label": ["ham", "spam"] * (count // 2)})


def taken(folder: Path, source: SourceConfig, **options: Any) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
    for step in ("download", "validate", "split"):
        (folder / step).mkdir()
    download(source, folder / "downloads", None, folder / "download")
    rules = ValidationConfig(labels=["ham", "spam"])
    validate(folder / "download/table.parquet", rules, folder / "validate")
    config = SplitConfig.model_validate(options)
    facts = split(folder / "validate/table.parquet", config, BalanceConfig(), rules.labels, folder / "split")
    return facts, {name: pd.read_parquet(folder / "split" / f"{name}.parquet") for name in SPLITS}


def files(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    train, test = rows("train", 200), rows("test", 40)
    test.loc[0, "text"] = WORDS
    test.loc[1, "text"] = test.loc[2, "text"]  # its own repeats stay
    train.loc[0, "text"] = train.loc[4, "text"] = test.loc[5, "text"]
    train.loc[2, "text"] = f"{test.loc[7, 'text'].upper()} 12"
    train.loc[3, "text"] = f"{WORDS} ten"
    train.to_csv(folder / "train.csv", index=False)
    test.to_csv(folder / "test.csv", index=False)
    return train, test


@pytest.mark.ci
@pytest.mark.parametrize("column", [False, True])
def test_a_given_test_split_is_taken_as_it_is(tmp_path: Path, column: bool) -> None:
    train, test = files(tmp_path)
    source = SourceConfig(url=str(tmp_path / "train.csv"), test=str(tmp_path / "test.csv"))
    if column:
        whole = pd.concat([train.assign(part="Train"), test.assign(part="test")])
        whole.to_csv(tmp_path / "whole.csv", index=False)
        columns = {"text": "text", "label": "label", "split": "part"}
        source = SourceConfig(url=str(tmp_path / "whole.csv"), columns=columns)
    facts, parts = taken(tmp_path, source)
    assert parts["test"]["text"].tolist() == test["text"].tolist()
    assert facts["given"]["splits"] == ["test"]
    assert facts["given"]["overlap"]["test"] == {"exact": 1, "folded": 2, "near": 3}
    assert facts["given"]["left_out"] == 4
    kept = pd.concat([parts["train"], parts["validation"]])
    assert sorted(kept["text"]) == sorted(train["text"].drop([0, 2, 3, 4]))
    assert facts["rows"] == {"train": 172, "validation": 24, "test": 40}  # an eighth of each class
    none = {"exact": 0, "folded": 0, "near": 0}
    assert facts["overlap"] == {"validation": none, "test": none, "test_validation": none}
    assert facts["warnings"] == [
        "rows of the given test that also stand in train as it came: 1 word for word, 2 once folded, 3 as near "
        "duplicates",
        "4 of 200 rows of train were left out, since they also stand in the given test",
    ]


def test_what_leaks_stays_where_duplicates_are_not_grouped(tmp_path: Path) -> None:
    files(tmp_path)
    source = SourceConfig(url=str(tmp_path / "train.csv"), test=str(tmp_path / "test.csv"))
    facts, parts = taken(tmp_path, source, group_duplicates=False)
    assert facts["given"]["left_out"] == 0
    assert len(parts["train"]) + len(parts["validation"]) == 200


def test_both_may_be_given(tmp_path: Path) -> None:
    files(tmp_path)
    rows("validation", 30).to_csv(tmp_path / "v.csv", index=False)
    given = {"validation": {"url": str(tmp_path / "v.csv")}, "test": str(tmp_path / "test.csv")}
    facts, _ = taken(tmp_path, SourceConfig.model_validate({"url": str(tmp_path / "train.csv"), **given}))
    assert facts["rows"] == {"train": 196, "validation": 30, "test": 40}


@pytest.mark.ci
def test_the_published_split_of_banking77(tmp_path: Path, shared_data: Path) -> None:
    folder = shared_data / "banking77"
    columns = {"text": "text", "label": "category"}
    source = SourceConfig(url=str(folder / "train.csv"), test=str(folder / "test.csv"), columns=columns)
    (tmp_path / "split").mkdir()
    download(source, tmp_path / "downloads", None, tmp_path)
    labels = sorted(pd.read_csv(folder / "test.csv")["category"].unique())
    facts = split(tmp_path / "table.parquet", SplitConfig(), BalanceConfig(), labels, tmp_path / "split")
    assert facts["rows"]["test"] == 3080
    assert facts["given"]["overlap"]["test"]["folded"] == 11
    assert facts["given"]["overlap"]["test"]["near"] > 11
    assert facts["rows"]["train"] + facts["rows"]["validation"] == 10_003 - facts["given"]["left_out"]
    assert facts["overlap"]["test"] == {"exact": 0, "folded": 0, "near": 0}
    expected = pd.read_csv(folder / "test.csv")["text"].tolist()
    assert pd.read_parquet(tmp_path / "split/test.parquet")["text"].tolist() == expected


def test_instructions_may_have_given_splits_too(tmp_path: Path) -> None:
    for name, count in (("train", 100), ("validation", 10)):
        frame = pd.DataFrame({"instruction": [f"{name} {number}" for number in range(count)], "output": "x"})
        frame.to_json(tmp_path / f"{name}.json", orient="records")
    source = InstructionSourceConfig(
        url=str(tmp_path / "train.json"), validation={"url": str(tmp_path / "validation.json")}
    )
    download(source, tmp_path / "downloads", None, tmp_path)
    facts = split_instructions(tmp_path / "table.parquet", InstructionSplitConfig(), tmp_path)
    assert facts["rows"]["validation"] == 10
    assert facts["rows"]["test"] == 11  # 0.10 of 0.95 of a hundred
    with pytest.raises(ConfigError, match=r"split\.order=file cuts a file whose splits the source gives"):
        split_instructions(tmp_path / "table.parquet", InstructionSplitConfig(order="file"), tmp_path)


def test_a_changed_test_file_is_another_source(tmp_path: Path) -> None:
    files(tmp_path)
    source = SourceConfig(url=str(tmp_path / "train.csv"), test=str(tmp_path / "test.csv"))
    before = source_identity(source, None)
    rows("other", 40).to_csv(tmp_path / "test.csv", index=False)
    assert source_identity(source, None) != before


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"test": {}}, "test: say which file it is, by url or member"),
        ({"test": "ftp://host/test.csv"}, "test: 'ftp://host/test.csv' starts with ftp"),
        ({"test": "t.csv", "columns": {"text": 0, "label": 1, "split": 2}, "header": False}, "give the splits in one"),
    ],
)
def test_what_cannot_be_given_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        SourceConfig.model_validate({"url": "train.csv", **options})


def test_a_split_of_another_name_is_refused(tmp_path: Path) -> None:
    frame = rows("a", 60).assign(part=["train"] * 40 + ["holdout"] * 20)
    frame.to_csv(tmp_path / "whole.csv", index=False)
    columns = {"text": "text", "label": "label", "split": "part"}
    with pytest.raises(ConfigError, match=r"source\.columns\.split: the split is 'holdout' in a row; name each one of"):
        taken(tmp_path, SourceConfig(url=str(tmp_path / "whole.csv"), columns=columns))
