"""`source.limit`: a trial on some rows of each file."""

from pathlib import Path

import pandas as pd
import pytest

from components.core.errors import DataRejected
from components.core.records import Facts
from components.data.download import download, source_identity
from components.data.sources import SourceConfig
from components.data.validation.labelled import validate
from components.data.validation.rules import ValidationConfig, of_a_trial

SORTED = "text,label\n" + "".join(f"row {row},{'ham' if row < 50 else 'spam'}\n" for row in range(100))


def bring(folder: Path, **options: object) -> tuple[Facts, pd.DataFrame]:
    (folder / "train.csv").write_text(SORTED)
    (folder / "test.csv").write_text("text,label\none,ham\ntwo,spam\nthree,ham\n")
    source = SourceConfig.model_validate({"url": str(folder / "train.csv"), **options})
    facts = download(source, folder / "downloads", None, folder)
    return facts, pd.read_parquet(folder / "table.parquet")


def test_rows_are_spread_evenly_so_that_a_sorted_file_gives_every_label(tmp_path: Path) -> None:
    facts, table = bring(tmp_path, limit=4)
    assert table.to_dict("list") == {
        "row": [1, 26, 51, 76],
        "text": ["row 0", "row 25", "row 50", "row 75"],
        "label": ["ham", "ham", "spam", "spam"],
    }
    assert facts["rows"] == facts["limit"] == 4
    assert "4 of 100 rows" in facts["notes"][0]


def test_every_file_is_limited_and_a_short_one_is_used_whole(tmp_path: Path) -> None:
    _, table = bring(tmp_path, limit=5, test=str(tmp_path / "test.csv"))
    assert table["split"].value_counts().to_dict() == {"train": 5, "test": 3}


def test_a_trial_has_a_key_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(SORTED)
    source = SourceConfig(url=str(tmp_path / "train.csv"))
    trial = source.model_copy(update={"limit": 4})
    assert source_identity(source, None) != source_identity(trial, None)


def test_rules_about_numbers_of_rows_warn_in_a_trial(tmp_path: Path) -> None:
    bring(tmp_path, limit=30)
    rules = ValidationConfig.model_validate({"labels": ["ham", "spam"], "rows": {"min": 100}})
    with pytest.raises(DataRejected, match="at least 100 rows"):
        validate(tmp_path / "table.parquet", rules, tmp_path)
    (trial := tmp_path / "trial").mkdir()
    facts = validate(tmp_path / "table.parquet", of_a_trial(rules), trial)
    assert facts["rows_out"] == 30
    assert "rows" in facts["warnings"][0]
