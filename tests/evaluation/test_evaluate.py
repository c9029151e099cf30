"""The step `evaluate` on small files: what it writes, in which order, and what it says where classes are missing."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.evaluation.classification import evaluate
from components.evaluation.curves import cheapest_threshold, thresholds_table
from components.evaluation.labelled import Predictions
from components.evaluation.scoring import BLOCK, READ, Scored, read_evenly, read_texts, write_predictions
from tests.models.encoders.small_bert import small_bert

STARS = ["1", "2", "3"]
MakeModel = Callable[[list[str]], Path]


def write_split(path: Path, labels: list[str]) -> Path:
    texts = [f"review number {index} says {'good ' * (index % 7)}" for index in range(len(labels))]
    frame = pd.DataFrame({"row": range(1, len(labels) + 1), "text": texts, "label": labels})
    frame.to_parquet(path, index=False)
    return path


@pytest.fixture
def splits(tmp_path: Path) -> dict[str, Path]:
    labels = {"train": STARS * 20, "validation": ["1", "2"] * 5, "test": ["3"] * 6}
    return {name: write_split(tmp_path / f"{name}.parquet", rows) for name, rows in labels.items()}


@pytest.mark.ci
def test_classes_without_a_row_cost_no_figure_but_their_own(
    splits: dict[str, Path], make_model: MakeModel, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    facts = evaluate(splits, make_model(STARS), [0.5, 0.3, 0.2], "cpu", out, ordered=True)
    metrics = facts["metrics"]
    assert all(np.isfinite(value) for value in metrics.values())
    assert json.loads((out / "metrics.json").read_text()) == facts
    # One class cannot be told from a rest that is not there.
    assert "test/roc_auc" not in metrics
    assert {"validation/roc_auc", "validation/f1_low", "validation/average_precision_high"} <= metrics.keys()
    assert {"train/f1", "tfidf/test/f1"} <= metrics.keys()
    assert not {"train/f1_low", "tfidf/test/f1_low"} & metrics.keys()
    assert metrics["majority/test/mean_absolute_error"] == 2.0
    assert metrics["majority/validation/quadratic_weighted_kappa"] == 0.0
    assert metrics["majority/test/loss"] == pytest.approx(-np.log(0.2)), "the shares, not 0 and 1"
    assert facts["baseline"] in {"svm", "tfidf"}
    assert {"svm/test/accuracy", "svm/test/loss"} <= metrics.keys()
    third = facts["per_class"]["validation"][2]
    assert (third["rows"], third["recall"], third["f1"], third["roc_auc"]) == (0, None, None, None)
    curves = pd.read_parquet(out / "figures/curves.parquet")
    assert curves.empty
    assert list(curves.columns) == ["classifier", "label", "curve", "area", "x", "y"]


@pytest.mark.long
def test_embeddings_of_a_frozen_encoder_are_a_baseline_where_one_is_named(
    splits: dict[str, Path], make_model: MakeModel, tmp_path: Path
) -> None:
    out, folder = tmp_path / "out", small_bert(tmp_path / "bert")
    out.mkdir()
    facts = evaluate(splits, make_model(STARS), [0.5, 0.3, 0.2], "cpu", out, encoder=folder)
    assert {"encoder/train/accuracy", "encoder/test/f1"} <= facts["metrics"].keys()
    assert facts["baseline_rows"]["encoder"] == facts["baseline_rows"]["svm"]
    predicted = pd.read_parquet(out / "predictions.parquet")
    assert set(predicted["encoder"]) <= set(STARS)


@pytest.mark.ci
def test_lengths_are_counted_before_the_cut(splits: dict[str, Path], make_model: MakeModel, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    facts = evaluate(splits, make_model(STARS), [0.5, 0.3, 0.2], "cpu", out)
    texts = pd.read_parquet(splits["test"])["text"]
    lengths = [len(text.encode()) for text in texts]  # the vocabulary is bytes
    assert facts["max_length"] == 16
    assert facts["lengths"]["test"]["longest"] == max(lengths) > 16
    assert facts["lengths"]["test"]["cut"] == sum(length > 16 for length in lengths)
    table = pd.read_parquet(out / "figures/lengths.parquet").query("split == 'test'")
    assert np.repeat(table["tokens"], table["rows"]).tolist() == sorted(lengths)
    assert "test/mean_absolute_error" not in facts["metrics"]


@pytest.mark.ci
def test_predictions_are_written_by_blocks_as_pandas_would_sort_them(tmp_path: Path) -> None:
    rows = BLOCK + READ + 5
    random = np.random.default_rng(0)
    labels = ["ham", "spam"]
    truth = random.integers(2, size=rows)
    # Few distinct values: ties must stay in the order of the file.
    spam = random.integers(50, size=rows) / 49
    said = Predictions(truth, np.column_stack([1 - spam, spam]))
    frame = pd.DataFrame({"row": np.arange(rows), "text": [f"text {row}" for row in range(rows)]})
    frame["label"] = np.array(labels)[truth]
    frame["site"] = frame["row"] % 3
    frame.to_parquet(tmp_path / "split.parquet", row_group_size=3000, index=False)

    tables = dict.fromkeys(["train", "test"], tmp_path / "split.parquet")
    scored = Scored({"model": said, "svm": said, "tfidf": said}, np.zeros(rows, np.int32))
    write_predictions(tables, dict.fromkeys(tables, scored), labels, tmp_path / "predictions.parquet")

    found = pd.read_parquet(tmp_path / "predictions.parquet")
    expected = frame.assign(
        correct=said.correct, probability=said.probabilities.max(axis=1), predicted=np.array(labels)[said.predicted]
    ).sort_values(["correct", "probability"], ascending=[True, False], kind="stable", ignore_index=True)
    first = ["split", "label", "predicted", "probability", "text", "row", "correct", "site"]
    assert list(found.columns) == [*first, "svm", "tfidf", "p_ham", "p_spam"]
    assert found["split"].tolist() == ["test"] * rows + ["train"] * rows
    for half in (found[:rows], found[rows:].reset_index(drop=True)):
        pd.testing.assert_frame_equal(half[expected.columns], expected, check_exact=True)
    assert {path.name for path in tmp_path.iterdir()} == {"split.parquet", "predictions.parquet"}


def test_a_baseline_gets_rows_from_all_of_a_large_file(tmp_path: Path) -> None:
    path = write_split(tmp_path / "train.parquet", ["ham"] * READ + ["spam"] * READ)
    every = [text for texts, _ in read_texts(path, ["ham", "spam"]) for text in texts]
    texts, ids = read_evenly(path, ["ham", "spam"], 1000)
    assert (texts[0], texts[-1]) == (every[0], every[-1])
    assert len(set(texts)) == len(texts) == 1000
    assert ids.tolist() == [0] * 500 + [1] * 500
    assert read_evenly(path, ["ham", "spam"], 10**9)[0] == every


def test_the_threshold_is_the_cheapest_on_validation_by_what_a_miss_costs() -> None:
    truth = np.array([0] * 6 + [1] * 4)
    score = np.array([0.1, 0.1, 0.2, 0.3, 0.6, 0.7, 0.4, 0.65, 0.9, 0.95])
    said = Predictions(truth, np.stack([1 - score, score], axis=1))
    scored = dict.fromkeys(("validation", "test"), Scored({"model": said}, np.zeros(10, np.int32)))
    for miss_cost in (0.2, 1.0, 5.0):
        table = thresholds_table(scored, miss_cost)
        test = table[table["split"] == "test"]
        by_hand = [
            (((score >= at) & (truth == 0)).sum() + miss_cost * ((score < at) & (truth == 1)).sum()) / 10
            for at in test["threshold"]
        ]
        assert test["cost"].to_list() == pytest.approx(by_hand)
        chosen = cheapest_threshold(table)
        assert chosen is not None
        assert chosen["cost"] == pytest.approx(min(by_hand))
    assert chosen["recall"] == 1.0
    assert cheapest_threshold(thresholds_table(scored, 0.2))["precision"] == 1.0


def test_more_than_two_labels_have_no_threshold() -> None:
    said = Predictions(np.array([0, 1, 2]), np.eye(3) * 0.7 + 0.1)
    table = thresholds_table(dict.fromkeys(("validation", "test"), Scored({"model": said}, np.zeros(3, np.int32))), 1.0)
    assert table.empty
    assert cheapest_threshold(table) is None
