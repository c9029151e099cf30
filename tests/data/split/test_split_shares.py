"""Splits are samples of the whole, keep their rows when the table grows, and share no text, by a check of its own."""

import csv
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.core.errors import ConfigError
from components.data.split.config import BalanceConfig, InstructionSplitConfig, SplitConfig
from components.data.split.folding import fold
from components.data.split.given_splits import SPLITS
from components.data.split.instructions import split_instructions
from components.data.split.labelled import split
from tests.data.word_overlap import leaking

SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}
LABELS = ["ham", "spam"]


@pytest.fixture
def sms(shared_data: Path) -> pd.DataFrame:
    raw = zipfile.ZipFile(shared_data / "sms+spam+collection.zip").read("SMSSpamCollection")
    frame = pd.read_csv(io.BytesIO(raw), sep="\t", header=None, names=["label", "text"], quoting=csv.QUOTE_NONE)
    return frame.assign(row=np.arange(1, len(frame) + 1))[["row", "text", "label"]]


def tickets(rows: int, seed: int, forms: int = 300) -> pd.DataFrame:
    """Tickets of two kinds, three in ten from templates with a number in them, of which there are few or many each."""
    draw = np.random.default_rng(seed)
    words = np.array([f"{a}{b}{c}" for a in "bdfglmnprst" for b in "aeiou" for c in "klmnrst"])
    templates = [" ".join(draw.choice(words, 10)) for _ in range(forms)]
    of = draw.integers(forms, size=rows)
    own = draw.random(rows) < 0.7
    texts = [
        " ".join(draw.choice(words, 10)) if new else f"{templates[form]} {draw.integers(10**6)}"
        for new, form in zip(own, of, strict=True)
    ]
    labels = np.where(own, draw.random(rows) < 0.3, of % 3 == 0)
    return pd.DataFrame({"row": range(1, rows + 1), "text": texts, "label": np.where(labels, "spam", "ham")})


def parts_of(frame: pd.DataFrame, folder: Path, **options: object) -> dict[str, pd.DataFrame]:
    frame.to_parquet(folder / "table.parquet", index=False)
    split(folder / "table.parquet", SplitConfig.model_validate(options), BalanceConfig(), LABELS, folder)
    return {name: pd.read_parquet(folder / f"{name}.parquet") for name in SPLITS}


def sides(parts: dict[str, pd.DataFrame]) -> pd.Series:
    return pd.concat([part.assign(side=name) for name, part in parts.items()]).set_index("row")["side"].sort_index()


@pytest.mark.ci
@pytest.mark.parametrize("rows", [800, pytest.param(3000, marks=pytest.mark.slow)])
def test_tickets_from_templates_are_dealt_like_any_other(tmp_path: Path, rows: int) -> None:
    frame = tickets(rows, 0, forms=rows // 10)
    assert_samples(frame, tmp_path, seeds=5)


@pytest.mark.ci
def test_splits_of_the_sms_collection_are_samples_of_it(tmp_path: Path, sms: pd.DataFrame) -> None:
    assert_samples(sms, tmp_path, seeds=2)


def assert_samples(frame: pd.DataFrame, folder: Path, seeds: int) -> None:
    """Over seeds, rows, spam, repeated rows and repeated spam have their shares, to within four standard errors."""
    folded = frame["text"].map(fold)
    repeats = folded.duplicated(keep=False)
    spam = frame["label"] == "spam"
    chosen = {"all": repeats | True, "spam": spam, "repeats": repeats, "repeated spam": repeats & spam}
    counts = {name: {side: [] for side in SPLITS} for name in chosen}
    for seed in range(seeds):
        dealt = sides(parts_of(frame, folder, seed=seed)).to_numpy()
        for name, mask in chosen.items():
            for side in SPLITS:
                counts[name][side].append((dealt[mask.to_numpy()] == side).mean())
    for name, by_side in counts.items():
        rows = int(chosen[name].sum())
        sizes = folded[chosen[name]].value_counts()
        # Rows of a group go together: its effective number is smaller.
        effective = rows**2 / (sizes**2).sum() / 2
        for side, found in by_side.items():
            error = (SHARES[side] * (1 - SHARES[side]) / effective / seeds) ** 0.5
            assert np.mean(found) == pytest.approx(SHARES[side], abs=4 * error), (name, side)
            assert max(abs(np.array(found) - SHARES[side])) < 5 * error * seeds**0.5, (name, side)


@pytest.mark.ci
def test_small_tables_have_exact_shares_of_every_class(tmp_path: Path) -> None:
    frame = tickets(900, 1)
    for seed in range(5):
        parts = parts_of(frame, tmp_path, seed=seed)
        for label, total in frame["label"].value_counts().items():
            for name, part in parts.items():
                assert (part["label"] == label).sum() == pytest.approx(SHARES[name] * total, abs=1.01)


def leaks_of(parts: dict[str, pd.DataFrame], join: Callable[[pd.DataFrame], list[str]], digits: bool = True) -> int:
    train, validation, test = (join(parts[name]) for name in SPLITS)
    return len(leaking(train, validation + test, digits)) + len(leaking(validation, test, digits))


@pytest.mark.slow
def test_the_sms_collection_has_no_near_duplicates_on_two_sides(tmp_path: Path, sms: pd.DataFrame) -> None:
    def texts(part: pd.DataFrame) -> list[str]:
        return part["text"].tolist()

    parts = parts_of(sms, tmp_path)
    assert leaks_of(parts, texts) == leaks_of(parts, texts, digits=False) == 0
    loose = parts_of(sms, tmp_path, group_near_duplicates=False)
    spam = loose["test"].loc[loose["test"]["label"] == "spam", "text"].tolist()
    assert len(leaking(loose["train"]["text"].tolist(), spam)) > 10


@pytest.mark.slow
def test_the_near_overlap_is_what_the_check_counts(tmp_path: Path) -> None:
    frame = tickets(1500, 2)
    frame.loc[::7, "text"] += " please"
    frame.to_parquet(tmp_path / "table.parquet", index=False)
    config = SplitConfig(group_duplicates=False)
    facts = split(tmp_path / "table.parquet", config, BalanceConfig(), LABELS, tmp_path)
    parts = {name: pd.read_parquet(tmp_path / f"{name}.parquet")["text"].tolist() for name in SPLITS}
    for pair, (known, other) in {"test": ("train", "test"), "test_validation": ("validation", "test")}.items():
        near = set(leaking(parts[known], parts[other])) | set(leaking(parts[known], parts[other], digits=False))
        folded = {fold(text) for text in parts[known]}
        found = [text for text in parts[other] if text in near or fold(text) in folded]
        assert facts["overlap"][pair]["near"] == len(found) > facts["overlap"][pair]["exact"]


@pytest.mark.ci
def test_a_row_keeps_its_split_when_the_table_grows(tmp_path: Path, sms: pd.DataFrame) -> None:
    for frame in (sms, tickets(2000, 3)):
        before = int(len(frame) / 1.1)
        for options in ({}, {"group_duplicates": False}):
            old = sides(parts_of(frame[:before], tmp_path, **options))
            new = sides(parts_of(frame, tmp_path, **options))
            assert (old == new[old.index]).all()


def test_instructions_that_differ_in_numbers_stay_apart_and_near_duplicates_together(tmp_path: Path) -> None:
    sums = [("Please work out the following sum for me", f"{a} + {a + 300}") for a in range(300)]
    long = [(f"Write a short friendly letter to {name} about the weather in the town", "") for name in ("Ann", "Bob")]
    entries = sums + long * 40 + [(f"Say {number}", "") for number in range(700)]
    frame = pd.DataFrame(entries, columns=["instruction", "input"]).assign(output="x")
    frame.insert(0, "row", range(1, len(frame) + 1))
    frame.to_parquet(tmp_path / "table.parquet")
    facts = split_instructions(tmp_path / "table.parquet", InstructionSplitConfig(), tmp_path)
    assert (facts["groups"]["largest"], facts["groups"]["groups"]) == (80, 300 + 1 + 700)
    assert facts["overlap"]["test"] == {"exact": 0, "folded": 0, "near": 0}
    assert facts["warnings"] == [
        '80 of 1,080 rows (7.4%) are one group of near duplicates, such as "Write a short friendly letter to Ann about '
        'the weather in th…", and stay in one split'
    ]


def test_above_200_000_rows_near_duplicates_are_looked_for_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("components.data.split.grouping.MOST_ROWS", 1000)
    frame = tickets(1200, 4)
    frame.to_parquet(tmp_path / "table.parquet", index=False)
    found = {}
    for value in ("auto", True, False):
        config = SplitConfig(group_near_duplicates=value)
        found[value] = split(tmp_path / "table.parquet", config, BalanceConfig(), LABELS, tmp_path)
    assert "set split.group_near_duplicates=true" in found["auto"]["warnings"][0]
    assert "near" not in found["auto"]["overlap"]["test"]
    assert found[True]["overlap"]["test"]["near"] == 0
    assert found[True]["warnings"] == found[False]["warnings"] == []


@pytest.mark.ci
def test_a_class_of_one_group_is_refused_with_the_key_that_helps(tmp_path: Path) -> None:
    frame = tickets(1200, 5)
    frame.loc[frame["label"] == "spam", "text"] = [f"code {n}" for n in range((frame["label"] == "spam").sum())]
    with pytest.raises(ConfigError, match=r'such as "code 0", which stay .* set split\.group_duplicates=false'):
        parts_of(frame, tmp_path)
    assert all((part["label"] == "spam").any() for part in parts_of(frame, tmp_path, group_duplicates=False).values())
