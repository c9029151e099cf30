"""From verdicts to rows: repeats, verdicts that could not be read, and what enters which figure."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap

from components.evaluation.verdicts import Verdicts, read_verdicts

Scores = list[list[float | None]]
"""A list a row, a score a repeat, None where it could not be read."""


def write(path: Path, scores: Scores, of: str = "model", exact: int = 0) -> pd.DataFrame:
    rows = [
        {
            "of": of, "row": 10 * (row + 1), "repeat": repeat, "score": score, "reason": f"{row}.{repeat}",
            "status": "unparsed" if score is None else "scored", "reply": "",
            "exact_match": float(row < exact), "token_f1": 0.5, "chrf": 40.0,
        }
        for row, repeats in enumerate(scores)
        for repeat, score in enumerate(repeats)
    ]  # fmt: skip
    frame = pd.DataFrame(rows).astype({"score": float})
    frame.to_parquet(path, index=False)
    return frame


def read(tmp_path: Path, scores: Scores, exact: int = 0) -> Verdicts:
    write(tmp_path / "verdicts.parquet", scores, exact=exact)
    rows = pd.Series([10 * (row + 1) for row in range(len(scores))])
    return read_verdicts(tmp_path / "verdicts.parquet", rows)["model"]


def test_repeats_are_averaged_within_a_row_before_rows_are(tmp_path: Path) -> None:
    said = read(tmp_path, [[0, 100], [80, 90], [60, 60]])
    assert said.scores.tolist() == [50, 85, 60]
    found = said.metrics()
    assert found["score"] == pytest.approx(65)
    assert found["score_median"] == 60
    assert found["score_spread"] == pytest.approx((np.std([0, 100], ddof=1) + np.std([80, 90], ddof=1)) / 3)
    assert (said.made, said.unparsed) == (6, 0)
    assert "score_spread" not in read(tmp_path, [[50], [60]]).metrics()


def test_what_cannot_be_read_is_in_no_mean_and_in_every_count(tmp_path: Path) -> None:
    said = read(tmp_path, [[None, 40], [None, None], [80, 90]], exact=2)
    assert said.scores[[0, 2]].tolist() == [40, 85]
    assert np.isnan(said.scores[1])
    found = said.metrics()
    assert found["score"] == pytest.approx(62.5)
    assert found["unparsed_share"] == 3 / 6
    assert found["exact_match"] == 2 / 3, "of all rows, whatever the judge said"
    assert found["score_spread"] == pytest.approx(np.std([80, 90], ddof=1)), "of rows with two scores"
    assert said.frame["status"].tolist() == ["scored", "unparsed", "scored"]
    assert said.frame["reason"].tolist() == ["0.1", "1.0", "2.0"], "of a repeat that could be read, if there is one"
    assert said.histogram()["rows"].sum() == 3


def test_no_score_at_all_leaves_the_figures_of_scores_out(tmp_path: Path) -> None:
    said = read(tmp_path, [[None], [None]])
    assert said.metrics().keys() == {
        "unparsed_share", "exact_match", "exact_match_low", "exact_match_high", "token_f1", "chrf"
    }  # fmt: skip
    assert said.histogram()["rows"].tolist() == [0] * 10 + [2]


def test_the_histogram_has_steps_of_ten_and_a_line_without_ends(tmp_path: Path) -> None:
    said = read(tmp_path, [[0], [9.9], [10], [89.9], [90], [99], [100], [None]])
    table = said.histogram()
    assert table["low"].tolist()[:-1] == list(range(0, 100, 10))
    assert table["high"].tolist()[:-1] == list(range(10, 110, 10))
    assert table["rows"].tolist() == [2, 1, 0, 0, 0, 0, 0, 0, 1, 3, 1]
    assert table["low"].isna().tolist() == [False] * 10 + [True]


def test_the_interval_agrees_with_scipys_bootstrap_of_rows(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    scores = random.integers(0, 101, size=(80, 3)).astype(float)
    found = read(tmp_path, scores.tolist()).metrics()
    means = scores.mean(axis=1)
    expected = bootstrap((means,), np.mean, method="percentile", rng=np.random.default_rng(1)).confidence_interval
    assert (found["score_low"], found["score_high"]) == pytest.approx((expected.low, expected.high), abs=0.6)
    one = read(tmp_path, [[70]]).metrics()
    assert (one["score_low"], one["score_high"]) == (70, 70)


def test_verdicts_come_in_the_order_of_the_rows_and_none_may_be_missing(tmp_path: Path) -> None:
    write(tmp_path / "verdicts.parquet", [[1], [2], [3]])
    said = read_verdicts(tmp_path / "verdicts.parquet", pd.Series([30, 10]))["model"]
    assert said.scores.tolist() == [3, 1]
    assert said.made == 2
    with pytest.raises(ValueError, match="1 of 2 rows have no verdict on the model's response"):
        read_verdicts(tmp_path / "verdicts.parquet", pd.Series([30, 40]))
