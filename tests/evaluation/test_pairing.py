"""Which rows two runs can be compared on, from files as `evaluate` writes them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.core.errors import NotComparable
from components.evaluation.paired.matching import pair, read_scored

Row = tuple[str, str, float]
"""Text, label, and probability of spam."""


def write(
    path: Path, test: list[Row], train: tuple[str, ...] = ("x",), labels: tuple[str, str] = ("ham", "spam")
) -> Path:
    rows = [("test", *row) for row in test] + [("train", text, labels[0], 0.5) for text in train]
    frame = pd.DataFrame(rows, columns=["split", "text", "label", labels[1]])
    frame = frame.assign(**{f"p_{labels[0]}": 1 - frame[labels[1]], f"p_{labels[1]}": frame[labels[1]]})
    columns = ["split", "label", "text", f"p_{labels[0]}", f"p_{labels[1]}"]
    frame[columns].to_parquet(path, index=False)
    return path


def lowered(text: str) -> str:
    return text.lower()


def test_rows_are_matched_whatever_their_order_and_that_of_the_labels(tmp_path: Path) -> None:
    rows = [("a", "ham", 0.1), ("b", "spam", 0.7), ("c", "ham", 0.2), ("d", "spam", 0.8)]
    # The other model has `ham` second, and so its probability in the last column.
    turned = [(text, label, 1 - p) for text, label, p in reversed(rows)]
    first = read_scored(write(tmp_path / "1", rows), lowered)
    second = read_scored(write(tmp_path / "2", turned, labels=("spam", "ham")), lowered)
    assert (first.labels, second.labels) == (("ham", "spam"), ("spam", "ham"))
    pairs = pair(first, second)
    assert (pairs.rows, pairs.same_test_set, pairs.learned_known) == (4, True, (True, True))
    np.testing.assert_allclose(pairs.first.probabilities, pairs.second.probabilities)
    assert pairs.first.truth.tolist() == pairs.second.truth.tolist() == [0, 1, 0, 1]


def test_only_common_rows_count_and_a_row_that_stands_twice_counts_twice(tmp_path: Path) -> None:
    first = [("a", "ham", 0.1), ("a", "ham", 0.1), ("b", "spam", 0.7), ("c", "ham", 0.2)]
    second = [("c", "spam", 0.3), ("a", "ham", 0.4), ("a", "ham", 0.4), ("a", "ham", 0.4), ("e", "spam", 0.9)]
    one, other = (read_scored(write(tmp_path / str(len(rows)), rows), lowered) for rows in (first, second))
    pairs = pair(one, other)
    runs = pairs.runs
    assert (pairs.rows, len(runs[0]), len(runs[1]), pairs.same_test_set) == (2, 4, 5, False)
    assert pairs.second.probabilities[:, 1].tolist() == [0.4, 0.4]


def test_what_either_has_learned_from_is_left_out_even_in_other_letters(tmp_path: Path) -> None:
    rows = [("a", "ham", 0.1), ("b", "spam", 0.7), ("c", "ham", 0.2)]
    one = read_scored(write(tmp_path / "1", rows, train=("A", "z")), lowered)
    other = read_scored(write(tmp_path / "2", rows, train=("c", "z")), lowered)
    pairs = pair(one, other)
    assert (pairs.rows, pairs.common, pairs.same_test_set) == (1, 3, True)
    assert pairs.first.truth.tolist() == [1]
    everything = read_scored(write(tmp_path / "3", rows, train=("a", "b", "c")), lowered)
    with pytest.raises(NotComparable, match="all 3 test rows that both have stand in the training data of one"):
        pair(one, everything)


def test_unknown_training_data_is_said(tmp_path: Path) -> None:
    rows = [("a", "ham", 0.1), ("b", "spam", 0.7)]
    known = read_scored(write(tmp_path / "1", rows), lowered)
    unknown = read_scored(write(tmp_path / "2", rows, train=()), lowered)
    assert pair(known, unknown).learned_known == (True, False)


def test_no_common_rows_other_labels_and_other_files_are_refused(tmp_path: Path) -> None:
    one = read_scored(write(tmp_path / "1", [("a", "ham", 0.1)]), lowered)
    with pytest.raises(NotComparable, match="of 1 and 2 test rows none is the same"):
        pair(one, read_scored(write(tmp_path / "2", [("b", "ham", 0.1), ("a", "spam", 0.1)]), lowered))
    with pytest.raises(NotComparable, match="different labels apart: ham, spam and no, yes"):
        pair(one, read_scored(write(tmp_path / "3", [("a", "no", 0.1)], labels=("no", "yes")), lowered))
    pd.DataFrame({"split": ["test"], "text": ["a"]}).to_parquet(tmp_path / "4")
    (tmp_path / "5").write_text("no Parquet")
    for name, message in (("4", "is no table of predictions"), ("5", "cannot be read as a table")):
        with pytest.raises(NotComparable, match=message):
            read_scored(tmp_path / name, lowered)
