"""Splits: the tutorial's rows bit by bit, and no text on two sides."""

import csv
import io
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from components.data.balancing import BalanceConfig, undersample
from components.data.folding import fold
from components.data.splitting import SPLITS, Fractions, SplitConfig, split
from components.errors import ConfigError

ARCHIVE = Path(__file__).parents[2].parent / "shared/data/sms+spam+collection.zip"
LABELS = ["ham", "spam"]


def sms(quoting: int) -> pd.DataFrame:
    if not ARCHIVE.exists():
        pytest.skip(f"the SMS Spam Collection is not at {ARCHIVE}")
    raw = zipfile.ZipFile(ARCHIVE).read("SMSSpamCollection")
    frame = pd.read_csv(io.BytesIO(raw), sep="\t", header=None, names=["label", "text"], quoting=quoting)
    return frame.assign(row=np.arange(1, len(frame) + 1))[["row", "text", "label"]]


def run(frame: pd.DataFrame, folder: Path, config: SplitConfig, balance: BalanceConfig, labels=LABELS):
    frame.to_parquet(folder / "table.parquet", index=False)
    facts = split(folder / "table.parquet", config, balance, labels, folder)
    return facts, {name: pd.read_parquet(folder / f"{name}.parquet") for name in SPLITS}


def made_up(rows: int, seed: int) -> pd.DataFrame:
    """Texts of which a third are near duplicates of one another."""
    rng = np.random.default_rng(seed)
    words = np.array(["call", "Now", "meet", "PRIZE", "home", "at", "the", "station"])
    texts = [" ".join(rng.choice(words, 3)) + f" {rng.integers(99)}" for _ in range(rows)]
    return pd.DataFrame({"row": np.arange(1, rows + 1), "text": texts, "label": rng.choice(LABELS, rows, p=[0.8, 0.2])})


def test_the_book_preset_is_the_tutorials_split_bit_by_bit(tmp_path: Path) -> None:
    frame = sms(csv.QUOTE_MINIMAL)
    config = SplitConfig(group_duplicates=False, stratify=False)
    facts, parts = run(frame, tmp_path, config, BalanceConfig(method="undersample", when="before_split"))

    # The tutorial's recipe, written out with pandas.
    ham, spam = frame[frame.label == "ham"], frame[frame.label == "spam"]
    balanced = pd.concat([ham.sample(len(spam), random_state=123), spam])
    shuffled = balanced.sample(frac=1, random_state=123).reset_index(drop=True)
    expected = {"train": shuffled[:1045], "validation": shuffled[1045:1194], "test": shuffled[1194:]}

    assert len(frame) == 5572
    assert facts["rows"] == {"train": 1045, "validation": 149, "test": 300}
    for name in SPLITS:
        assert parts[name]["text"].tolist() == expected[name]["text"].tolist()
        assert parts[name]["label"].tolist() == expected[name]["label"].tolist()
        assert parts[name]["row"].tolist() == expected[name]["row"].tolist()
    assert facts["overlap"]["test"]["exact"] == 37
    assert facts["overlap"]["validation"]["exact"] == 13


def test_the_spam_preset_leaks_nothing_and_keeps_the_real_class_ratio(tmp_path: Path) -> None:
    frame = sms(csv.QUOTE_NONE)
    facts, parts = run(frame, tmp_path, SplitConfig(), BalanceConfig(method="undersample"))
    assert len(frame) == 5574
    none = {"exact": 0, "folded": 0}
    assert facts["overlap"] == {"validation": none, "test": none, "test_validation": none}
    assert facts["majority"] == "ham"
    folded = {name: set(parts[name]["text"].map(fold)) for name in SPLITS}
    assert not folded["validation"] & folded["test"]
    assert facts["classes"]["train"]["ham"] == facts["classes"]["train"]["spam"]
    for name in ("validation", "test"):
        share = (parts[name]["label"] == "spam").mean()
        assert share == pytest.approx(747 / 5574, abs=0.002)
    assert sum(facts["rows_before_balancing"].values()) == 5574
    for name, fraction in Fractions().model_dump().items():
        assert facts["rows_before_balancing"][name] == pytest.approx(5574 * fraction, abs=3)


@pytest.mark.parametrize("seed", range(5))
def test_every_row_lands_once_and_groups_stay_together(tmp_path: Path, seed: int) -> None:
    frame = made_up(400, seed)
    facts, parts = run(frame, tmp_path, SplitConfig(seed=seed), BalanceConfig())
    rows = pd.concat(parts.values())["row"]
    assert sorted(rows) == list(range(1, 401))
    sides = pd.concat([part.assign(side=name) for name, part in parts.items()])
    assert (sides.groupby(sides["text"].map(fold))["side"].nunique() == 1).all()
    assert facts["overlap"]["test"] == {"exact": 0, "folded": 0}


def test_the_seed_decides_the_split(tmp_path: Path) -> None:
    frame = made_up(300, 0)
    splits = []
    for position, seed in enumerate([1, 1, 2]):
        folder = tmp_path / str(position)
        folder.mkdir()
        splits.append(run(frame, folder, SplitConfig(seed=seed), BalanceConfig())[1]["test"]["row"].tolist())
    assert splits[0] == splits[1] != splits[2]


def test_undersampling_keeps_small_classes_whole() -> None:
    frame = pd.DataFrame({"row": range(9), "text": list("abcdefghi"), "label": list("xxxxxyyzz")})
    even = undersample(frame, ["z", "x", "y"], seed=0)
    assert even["label"].tolist() == list("zzxxyy")
    assert even["text"].tolist()[:2] == ["h", "i"]


def test_a_split_without_a_class_is_refused(tmp_path: Path) -> None:
    frame = made_up(40, 0).assign(label=["ham"] * 39 + ["spam"])
    with pytest.raises(ConfigError, match=r"has no row labelled 'spam'; give it"):
        run(frame, tmp_path, SplitConfig(), BalanceConfig())


def test_fractions_must_add_up() -> None:
    with pytest.raises(ValidationError, match=r"must be 1, not 1\.1"):
        Fractions(train=0.8)


@pytest.mark.parametrize("other", ["CALL  me on 555", "call me on 0123", "call\tme on", "Call me\non 1 2 3"])
def test_folding_sees_through_case_space_and_digits(other: str) -> None:
    assert fold(other) == fold("Call me on 08001")


def test_folding_keeps_different_words_apart() -> None:
    assert fold("call me now") != fold("call me later")
