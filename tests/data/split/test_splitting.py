"""Splits: the tutorial's rows bit by bit, and no text on two sides."""

import csv
import io
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.utils.class_weight import compute_class_weight

from components.core.errors import ConfigError
from components.data.batches import schema
from components.data.split.config import BalanceConfig, Fractions, SplitConfig
from components.data.split.folding import fold
from components.data.split.given_splits import SPLITS
from components.data.split.labelled import split, undersample
from components.data.split.reordering import write_in_order

ARCHIVE = Path(__file__).parents[3].parent / "shared/data/sms+spam+collection.zip"
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


@pytest.mark.long
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


@pytest.mark.ci
def test_the_spam_preset_leaks_nothing_and_keeps_the_real_class_ratio(tmp_path: Path) -> None:
    frame = sms(csv.QUOTE_NONE)
    facts, parts = run(frame, tmp_path, SplitConfig(), BalanceConfig(method="undersample"))
    assert len(frame) == 5574
    none = {"exact": 0, "folded": 0, "near": 0}
    assert facts["overlap"] == {"validation": none, "test": none, "test_validation": none}
    assert facts["majority"] == "ham"
    folded = {name: set(parts[name]["text"].map(fold)) for name in SPLITS}
    assert not folded["validation"] & folded["test"]
    assert facts["classes"]["train"]["ham"] == facts["classes"]["train"]["spam"]
    for name in ("validation", "test"):
        share = (parts[name]["label"] == "spam").mean()
        assert share == pytest.approx(747 / 5574, abs=4 * (0.134 * 0.866 / len(parts[name])) ** 0.5)
    assert sum(facts["rows_before_balancing"].values()) == 5574
    for name, fraction in Fractions().model_dump().items():
        assert facts["rows_before_balancing"][name] == pytest.approx(5574 * fraction, abs=150)


@pytest.mark.ci
@pytest.mark.parametrize("seed", range(5))
def test_every_row_lands_once_and_groups_stay_together(tmp_path: Path, seed: int) -> None:
    frame = made_up(400, seed)
    facts, parts = run(frame, tmp_path, SplitConfig(seed=seed), BalanceConfig())
    rows = pd.concat(parts.values())["row"]
    assert sorted(rows) == list(range(1, 401))
    sides = pd.concat([part.assign(side=name) for name, part in parts.items()])
    assert (sides.groupby(sides["text"].map(fold))["side"].nunique() == 1).all()
    assert facts["overlap"]["test"] == {"exact": 0, "folded": 0, "near": 0}


def test_the_seed_decides_the_split(tmp_path: Path) -> None:
    frame = made_up(300, 0)
    splits = []
    for position, seed in enumerate([1, 1, 2]):
        folder = tmp_path / str(position)
        folder.mkdir()
        splits.append(run(frame, folder, SplitConfig(seed=seed), BalanceConfig())[1]["test"]["row"].tolist())
    assert splits[0] == splits[1] != splits[2]


def dealt_with_pandas(frame: pd.DataFrame, config: SplitConfig, balance: BalanceConfig) -> dict[str, pd.DataFrame]:
    """The same cut with the whole table in memory, text by text."""

    def even(rows: pd.DataFrame) -> pd.DataFrame:
        parts = [rows[rows.label == label] for label in LABELS]
        fewest = min(map(len, parts))
        return pd.concat([part if len(part) == fewest else part.sample(fewest, random_state=7) for part in parts])

    if balance.method == "undersample" and balance.when == "before_split":
        frame = even(frame)
    frame = frame.sample(frac=1, random_state=config.seed)
    train, validation = int(0.7 * len(frame)), int(0.1 * len(frame))
    parts = {
        "train": frame[:train],
        "validation": frame[train : train + validation],
        "test": frame[train + validation :],
    }
    if balance.method == "undersample" and balance.when == "train_only":
        parts["train"] = even(parts["train"]).sample(frac=1, random_state=config.seed)
    return parts


@pytest.mark.ci
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    method=st.sampled_from(["none", "undersample", "class_weight"]),
    when=st.sampled_from(["train_only", "before_split"]),
)
def test_it_is_row_for_row_what_pandas_makes_of_the_whole_table(seed: int, method: str, when: str) -> None:
    frame = made_up(300, seed)
    config = SplitConfig(seed=seed, group_duplicates=False, stratify=False)
    balance = BalanceConfig(method=method, when="train_only" if method == "class_weight" else when, seed=7)
    with tempfile.TemporaryDirectory() as folder:
        facts, parts = run(frame, Path(folder), config, balance)
    expected = dealt_with_pandas(frame, config, balance)
    for name in SPLITS:
        assert parts[name].values.tolist() == expected[name].values.tolist()
        texts = expected[name]["text"]
        known = expected["train"]["text"]
        if name != "train":
            exact, folded = texts.isin(set(known)).sum(), texts.map(fold).isin(set(known.map(fold))).sum()
            assert facts["overlap"][name] == {"exact": exact, "folded": folded, "near": folded}  # they are short


def test_undersampling_keeps_small_classes_whole() -> None:
    even = undersample(np.array([1, 1, 1, 1, 1, 2, 2, 0, 0]), classes=3, seed=0)
    assert even[:2].tolist() == [7, 8]
    assert set(even[2:4]) < {0, 1, 2, 3, 4}
    assert even[4:].tolist() == [5, 6]


def test_class_weights_are_those_of_scikit_learn(tmp_path: Path) -> None:
    facts, parts = run(made_up(400, 0), tmp_path, SplitConfig(), BalanceConfig(method="class_weight"), ["spam", "ham"])
    assert facts["rows"] == facts["rows_before_balancing"]
    expected = compute_class_weight("balanced", classes=np.array(["spam", "ham"]), y=parts["train"]["label"].to_numpy())
    assert facts["class_weights"] == pytest.approx(expected.tolist())
    assert run(made_up(400, 0), tmp_path, SplitConfig(), BalanceConfig())[0]["class_weights"] is None


def test_class_weights_before_the_split_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"set when=train_only, or method=undersample"):
        BalanceConfig(method="class_weight", when="before_split")


def test_whether_labels_are_ordered_is_passed_on(tmp_path: Path) -> None:
    made_up(200, 0).to_parquet(tmp_path / "table.parquet")
    for ordered in (True, False):
        facts = split(tmp_path / "table.parquet", SplitConfig(), BalanceConfig(), LABELS, tmp_path, ordered)
        assert facts["ordered"] is ordered


def uneven(spam: list[str]) -> pd.DataFrame:
    texts = [f"{'abcdefghij'[row % 10] * (row // 10 + 1)}" for row in range(40)] + spam
    return pd.DataFrame({"row": range(1, len(texts) + 1), "text": texts, "label": ["ham"] * 40 + ["spam"] * len(spam)})


@pytest.mark.parametrize(
    ("spam", "config", "says"),
    [
        (["x"], {}, "there is 1 row for three splits: collect more, or take the class out of validation.labels"),
        (["x", "y"], {"stratify": False}, "there are 2 rows for three splits: collect more"),
        (
            ["x", "y", "z"],
            {"stratify": False, "seed": 1},
            "set split.stratify=true, or collect more rows of that class",
        ),
        (
            ["x 1", "x 2", "x 3"],
            {},
            '3 of its 3 rows are texts that differ only in digits, case or white space, such as "x 1", which stay in '
            "one split; set split.group_duplicates=false to deal them one by one, or collect other rows",
        ),
        (
            [f"{number} of the very same nine words as the others" for number in ("one", "two", "three")],
            {},
            r"3 of its 3 rows are near duplicates \(word sets of Jaccard 0\.8 and more\), such as \"one of .*; "
            "set split.group_near_duplicates=false",
        ),
    ],
)
def test_a_split_without_a_class_is_refused_with_what_helps(
    tmp_path: Path, spam: list[str], config: dict[str, object], says: str
) -> None:
    with pytest.raises(ConfigError, match=rf"split has no row labelled 'spam'; .*{says}") as caught:
        run(uneven(spam), tmp_path, SplitConfig.model_validate(config), BalanceConfig())
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["table.parquet"]


@pytest.mark.ci
@settings(max_examples=50, deadline=None)
@given(rows=st.integers(1, 60), run_length=st.integers(1, 70), data=st.data())
def test_rows_are_written_in_any_order_through_files(rows: int, run_length: int, data: st.DataObject) -> None:
    order = np.array(data.draw(st.permutations(range(rows))), np.int64)
    used, cut = data.draw(st.integers(0, rows)), data.draw(st.integers(0, rows))
    parts = np.split(order[:used], [min(cut, used)])
    frame = pd.DataFrame({"row": range(rows), "text": [f"text {row}" for row in range(rows)]})
    with tempfile.TemporaryDirectory() as folder:
        frame.to_parquet(Path(folder, "table"))
        paths = [Path(folder, "one"), Path(folder, "two")]
        write_in_order(Path(folder, "table"), dict(zip(paths, parts, strict=True)), schema(["text"]), run_length)
        for path, part in zip(paths, parts, strict=True):
            assert pd.read_parquet(path)["row"].tolist() == part.tolist()
            assert pd.read_parquet(path)["text"].tolist() == [f"text {row}" for row in part]
        assert len(list(Path(folder).iterdir())) == 3


def test_fractions_must_add_up() -> None:
    with pytest.raises(ValidationError, match=r"must be 1, not 1\.1"):
        Fractions(train=0.8)


@pytest.mark.parametrize("other", ["CALL  me on 555", "call me on 0123", "call\tme on", "Call me\non 1 2 3"])
def test_folding_sees_through_case_space_and_digits(other: str) -> None:
    assert fold(other) == fold("Call me on 08001")


def test_folding_keeps_different_words_apart() -> None:
    assert fold("call me now") != fold("call me later")
