"""Labels that are wrong are found, by models that have not seen the row."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.evaluation import label_errors
from components.evaluation.label_errors import find_label_errors, ranked_errors
from components.evaluation.labelled import Predict

WORDS = {0: "meet lunch home tonight walk soon bring", 1: "prize claim cash urgent winner free reply"}


def table(path: Path, truth: np.ndarray) -> Path:
    draw = np.random.default_rng(0)
    texts = [" ".join(draw.choice(WORDS[label].split(), 5)) for label in truth]
    pq.write_table(pa.table({"text": texts}), path)
    return path


@pytest.mark.ci
def test_planted_errors_are_ranked_first(tmp_path: Path) -> None:
    truth = np.arange(240) % 2
    given, planted = truth.copy(), np.arange(0, 240, 19)
    given[planted] = 1 - given[planted]
    found = find_label_errors(table(tmp_path / "t.parquet", truth), given, np.arange(240), 2)
    assert set(found.rows.tolist()) == set(planted.tolist())
    assert found.probabilities.shape == (240, 2)


def test_no_row_is_judged_by_a_model_that_has_seen_it_or_its_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[str]] = []

    def remember(name: str, texts: list[str], truth: np.ndarray, classes: int) -> Predict:
        taught = set(texts)
        seen.append(taught)

        def predict(rows: list[str]) -> np.ndarray:
            assert taught.isdisjoint(rows)
            return np.tile([0.5, 0.5], (len(rows), 1))

        return predict

    monkeypatch.setattr(label_errors, "fit_baseline", remember)
    texts = [f"text {number // 2}" for number in range(40)]  # each twice
    pq.write_table(pa.table({"text": texts}), tmp_path / "t.parquet")
    find_label_errors(tmp_path / "t.parquet", np.arange(40) // 4 % 2, np.arange(40) // 2, 2)
    assert len(seen) == 2 * label_errors.FOLDS
    assert all(len(taught) < 20 for taught in seen)


def test_a_label_that_is_as_probable_as_can_be_is_never_suspected() -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.95, 0.05], [0.6, 0.4]])
    assert ranked_errors(np.array([0, 1, 0, 0]), probabilities).tolist() == []


def test_one_text_alone_cannot_be_cross_validated(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a", "a"]}), tmp_path / "t.parquet")
    with pytest.raises(ValueError, match="fewer than two different texts"):
        find_label_errors(tmp_path / "t.parquet", np.array([0, 1]), np.array([0, 0]), 2)


@pytest.mark.long
def test_a_class_of_too_few_rows_to_learn_is_left_alone(tmp_path: Path) -> None:
    truth = np.append(np.arange(60) % 2, 2)
    path = table(tmp_path / "t.parquet", truth % 2)
    assert find_label_errors(path, truth, np.arange(61), 3).rows.tolist() == []
