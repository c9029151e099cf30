"""The tutorial's 19 experiments: each is a row of the sweep `spam-experiments`, and each trains."""

import csv
from pathlib import Path

import pandas as pd
import pytest

from components.core.records import NoLogger
from components.models.config import GPTSize
from components.models.saved.classifier import load_classifier
from components.training.classification import Classes, fine_tune
from components.training.fine_tuning import Splits, Start
from pipelines.config import PipelineConfig
from pipelines.sweeping.config import load_sweep
from pipelines.sweeping.rows import rows_of

ROWS = {int(row.name.partition(" ")[0]): row for row in rows_of(load_sweep("spam-experiments"))}
TINY = GPTSize(layers=2, heads=2, width=32, context=1024)


def experiment(row: int) -> PipelineConfig:
    return ROWS[row].config()


def test_the_sweep_has_all_of_them() -> None:
    assert list(ROWS) == list(range(1, 20))


@pytest.mark.ci
def test_the_sweep_says_what_was_published(shared_data: Path) -> None:
    """Column by column, what the table of figures says is what the keys set."""
    with (shared_data / "tutorial-spam-experiments.csv").open() as file:
        published = {int(line["row"]): line for line in csv.DictReader(file)}
    pooling = {"last": "last_position", "first": "first_token", "last_non_padding": "last_token"}
    for row, line in published.items():
        config = experiment(row)
        train = config.train
        assert ROWS[row].published == float(line["test_acc"])
        assert config.model.size == line["model"]
        assert (config.model.weights == "random") == (line["weights"] == "random")
        assert train.trainable == line["trainable"].partition("_r16")[0]
        assert train.causal == (line["causal_mask"] == "on")
        averaged = line["pooling"] == "mean_plus_position"
        assert train.pooling == ("mean_positions" if averaged else pooling[line["token_position"]])
        lengths = {"longest_train_120": "train", "model_1024": 1024, "variable": "none"}
        assert train.padding == lengths[line["context"]]
        accumulate = 8 if line["padding"].endswith("accumulate_8") else 1
        assert (train.batch_size, train.accumulate) == ((1, accumulate) if train.padding == "none" else (8, 1))
        if train.trainable == "lora":
            factor = float(line["trainable"].rpartition("_a")[2])
            assert config.lora.alpha / config.lora.rank == factor


@pytest.mark.parametrize(("base", "skipped"), [("random", {10, 18}), ("smollm2", {6, 7, 8, 9, 10, 12, 18})])
def test_with_other_weights_what_is_no_row_of_its_own_is_skipped_with_the_reason(base: str, skipped: set[int]) -> None:
    rows = rows_of(load_sweep("spam-experiments"), base)
    reasons = {int(row.name.partition(" ")[0]): row.skipped for row in rows if row.skipped}
    assert set(reasons) == skipped
    assert reasons[18].endswith("the same as 1 last block")
    assert all(row.values["model.weights"] != "openai-community/gpt2" for row in rows)


@pytest.mark.ci
@pytest.mark.parametrize("row", [row if row % 18 == 1 else pytest.param(row, marks=pytest.mark.slow) for row in ROWS])
def test_each_trains_two_steps(row: int, tmp_path: Path) -> None:
    config = experiment(row)
    paths = tmp_path / "train.parquet", tmp_path / "validation.parquet"
    for path in paths:
        texts = ["call now to win a prize " * (1 + number % 3) for number in range(16)]
        pd.DataFrame({"text": texts, "label": ["ham", "spam"] * 8}).to_parquet(path)
    model = config.model.model_copy(
        update={"size": TINY, "weights": "random", "vocabulary": "sample://vocabulary.tiktoken"}
    )
    train = config.train.model_copy(update={"max_steps": 2, "eval_batches": 1})
    facts = fine_tune(
        Splits(*paths), Classes(["ham", "spam"]), Start(model, lora=config.lora), train, NoLogger(), tmp_path
    )
    assert facts["steps"] == 2
    assert facts["trained_parameters"] < facts["parameters"] or train.trainable == "all"
    steps = pd.read_parquet(tmp_path / "steps.parquet")
    assert steps["examples_seen"].tolist() == [train.batch_size * train.accumulate * step for step in (1, 2)]
    assert len(load_classifier(tmp_path / "model").predict(["hello there"])) == 1
