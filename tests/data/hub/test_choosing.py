"""Which files hold which split, as `datasets` would have it."""

from typing import Any

import pytest

from components.core.errors import ConfigError
from components.data.hub.choosing import as_given, find_converted, find_splits
from components.data.hub.config import HubConfig


def found(*files: str, declared: Any = None, **wanted: str) -> dict[str, list[str]]:
    return find_splits(files, declared, HubConfig.model_validate(wanted), "owner/name")


def test_names_of_files_and_folders_tell_splits() -> None:
    assert found("data/train-0.csv", "data/validation-0.csv", "my_test.csv", "trains.csv") == {
        "test": ["my_test.csv"],
        "train": ["data/train-0.csv"],
        "validation": ["data/validation-0.csv"],
    }
    assert found("training/a.jsonl", "dev/a.jsonl") == {"train": ["training/a.jsonl"], "validation": ["dev/a.jsonl"]}


def test_numbers_part_words_and_the_hubs_own_words_are_known() -> None:
    assert found("train1.csv", "my_train2.csv", "eval.csv") == {
        "train": ["my_train2.csv", "train1.csv"],
        "test": ["eval.csv"],
    }
    used = as_given({"train": ["a.csv"], "evaluation": ["b.csv"]}, HubConfig(), "owner/name")
    assert used == {"train": ["a.csv"], "test": ["b.csv"]}
    declared = [{"config_name": "all", "data_files": "**/train.csv"}]
    assert found("train.csv", "sub/train.csv", declared=declared) == {"train": ["train.csv", "sub/train.csv"]}


def test_where_no_name_tells_all_is_train() -> None:
    assert found("b.csv", "a.csv", "notes.txt", ".hidden.csv") == {"train": ["a.csv", "b.csv"]}


def test_of_copies_in_several_formats_parquet_is_used() -> None:
    assert found("train.csv", "train.json", "train.parquet", "dataset_infos.json") == {"train": ["train.parquet"]}
    assert found("model.bin", "README.md") == {}


DECLARED = [
    {
        "config_name": "en",
        "data_files": [{"split": "train", "path": "en/part-*.csv"}, {"split": "extra", "path": ["x.csv"]}],
    },
    {"config_name": "de", "data_dir": "de", "data_files": "*.csv"},
    {"config_name": "fr", "data_dir": "fr"},
    {"config_name": "all", "data_files": "**.csv", "default": True},
]
FILES = (
    "en/part-1.csv",
    "en/part-2.csv",
    "en/deep/part-3.csv",
    "x.csv",
    "de/a.csv",
    "de/b/c.csv",
    "fr/test.csv",
    "fr/train.csv",
)


@pytest.mark.parametrize(
    ("subset", "splits"),
    [
        ("en", {"train": ["en/part-1.csv", "en/part-2.csv"], "extra": ["x.csv"]}),
        ("de", {"train": ["de/a.csv"]}),
        ("fr", {"test": ["fr/test.csv"], "train": ["fr/train.csv"]}),
        ("all", {"train": list(FILES)}),
    ],
)
def test_a_card_declares_subsets_and_their_splits(subset: str, splits: dict[str, list[str]]) -> None:
    assert found(*FILES, declared=DECLARED, subset=subset) == splits


def test_the_default_subset_is_used_and_without_one_it_has_to_be_said() -> None:
    assert found(*FILES, declared=DECLARED) == {"train": list(FILES)}
    with pytest.raises(ConfigError, match=r"en, de, fr.*source\.hub\.subset"):
        found(*FILES, declared=DECLARED[:3])
    with pytest.raises(ConfigError, match=r"no subset 'it'.*en, de, fr"):
        found(*FILES, declared=DECLARED, subset="it")


def test_without_a_declaration_a_subset_is_a_folder() -> None:
    assert found("en/train.csv", "de/train.csv", subset="de") == {"train": ["de/train.csv"]}
    with pytest.raises(ConfigError, match=r"no folder 'it'"):
        found("en/train.csv", subset="it")


def test_the_hubs_copies_are_by_subset_and_split() -> None:
    files = ["a/train/0001.parquet", "a/train/0000.parquet", "a/partial-test/0000.parquet", "b/train/0000.parquet"]
    with pytest.raises(ConfigError, match="subsets a, b"):
        find_converted(files, HubConfig(), "owner/name")
    assert find_converted(files, HubConfig(subset="a"), "owner/name") == {
        "test": ["a/partial-test/0000.parquet"],
        "train": ["a/train/0000.parquet", "a/train/0001.parquet"],
    }


def test_train_is_not_guessed() -> None:
    with pytest.raises(ConfigError, match=r"no split train; there are extra.*source\.hub\.split"):
        as_given({"extra": ["x.csv"]}, HubConfig(), "owner/name")
    assert as_given({"extra": ["x.csv"]}, HubConfig(split="extra"), "owner/name") == {"": ["x.csv"]}
    assert as_given({"Valid": ["v"], "train": ["t"]}, HubConfig(), "o/n") == {"train": ["t"], "validation": ["v"]}
