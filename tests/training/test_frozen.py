"""Training from what the frozen blocks made of the texts once, against training with all blocks in every step."""

from pathlib import Path

import pandas as pd
import pytest
import torch

from components.core.records import Facts, NoLogger
from components.evaluation.classification import evaluate
from components.models.config import ModelConfig
from components.models.fast.states import open_states
from components.models.saved.classifier import load_classifier
from components.training import frozen
from components.training.classification import Classes, fine_tune
from components.training.config import TrainConfig, uses_cached_features
from components.training.fine_tuning import Splits, Start
from components.training.frozen import cache_features
from tests.training.tuning import LABELS, MODEL, QUICK, tune, weights, write_splits

DRY = MODEL.model_copy(update={"dropout": 0.0})
SPLITS = ("train", "validation", "test")


def read(folder: Path, **options: object) -> Facts:
    """Write splits, and what the frozen blocks make of them."""
    write_splits(folder)
    texts = [f"{'a prize ' * (row % 3)}now {row}" for row in range(9)]
    pd.DataFrame({"text": texts, "label": [LABELS[row % 2] for row in range(9)]}).to_parquet(folder / "test.parquet")
    (folder / "frozen").mkdir()
    tables = {name: folder / f"{name}.parquet" for name in SPLITS}
    config = TrainConfig(**(QUICK | {"trainable": "last_block"} | options))
    return cache_features(tables, LABELS, Start(DRY), config, folder / "frozen")


def both(folder: Path, class_weights: list[float] | None = None, **options: object) -> tuple[Facts, Facts]:
    """Train in the plain way and from the states."""
    options = {"trainable": "last_block", "epochs": 2, **options}
    read(folder, **{name: value for name, value in options.items() if name != "epochs"})
    plain = tune(folder, "plain", model=DRY, class_weights=class_weights, **options)
    fast = tune(folder, "fast", model=DRY, class_weights=class_weights, frozen=folder / "frozen", **options)
    return plain, fast


def losses(folder: Path, name: str) -> tuple[list[float], list[float]]:
    steps, history = (pd.read_parquet(folder / name / f"{table}.parquet") for table in ("steps", "history"))
    return steps["loss"].tolist(), history[["train_loss", "validation_loss"]].to_numpy().ravel().tolist()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"trainable": "last_layer"},
        {"accumulate": 2, "clip": None},
        {"pooling": "last_position", "padding": "train"},
        {"pooling": "mean_positions", "padding": 20},
        {"pooling": "mean", "causal": False},
        {"pooling": "last_position", "padding": "none", "batch_size": 1, "accumulate": 4},
        {"max_length": 3, "keep": "last"},
    ],
)
def test_losses_and_weights_are_those_of_the_plain_way(tmp_path: Path, options: dict[str, object]) -> None:
    plain, fast = both(tmp_path, **options)
    assert fast == plain
    for expected, found in zip(losses(tmp_path, "plain"), losses(tmp_path, "fast"), strict=True):
        assert found == pytest.approx(expected, abs=1e-4)
    expected_weights, found_weights = weights(tmp_path, "plain"), weights(tmp_path, "fast")
    assert found_weights.keys() == expected_weights.keys()
    # What does not train is the same bit by bit.
    assert torch.equal(
        found_weights["transformer.h.0.mlp.c_fc.weight"], expected_weights["transformer.h.0.mlp.c_fc.weight"]
    )


def test_losses_with_class_weights_are_those_of_the_plain_way(tmp_path: Path) -> None:
    both(tmp_path, class_weights=[0.4, 2.5])
    for expected, found in zip(losses(tmp_path, "plain"), losses(tmp_path, "fast"), strict=True):
        assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.ci
def test_in_bf16_losses_stay_near(tmp_path: Path) -> None:
    both(tmp_path, precision="bf16", learning_rate=1e-3)
    assert open_states(tmp_path / "frozen/train.safetensors").values.dtype == torch.bfloat16
    for expected, found in zip(losses(tmp_path, "plain"), losses(tmp_path, "fast"), strict=True):
        assert found == pytest.approx(expected, abs=0.02)


@pytest.mark.one_case
@pytest.mark.parametrize(("precision", "bound"), [("fp32", 1e-4), ("bf16", 0.02)])
def test_probabilities_are_those_of_the_saved_model(tmp_path: Path, precision: str, bound: float) -> None:
    options = {"trainable": "last_block", "precision": precision}
    read(tmp_path, **options)
    tune(tmp_path, model=DRY, epochs=3, frozen=tmp_path / "frozen", **options)
    tables = {name: tmp_path / f"{name}.parquet" for name in SPLITS}
    for name, states in (("plain", None), ("fast", tmp_path / "frozen")):
        (tmp_path / name).mkdir()
        evaluate(tables, tmp_path / "out/model", [0.7, 0.3], "cpu", tmp_path / name, frozen=states)
    said = [pd.read_parquet(tmp_path / name / "predictions.parquet") for name in ("plain", "fast")]
    for table in said:
        table.sort_values(["split", "row"] if "row" in table else ["split", "text"], inplace=True)
    assert len(said[1]) == 40 + 12 + 9
    assert said[1]["p_spam"].to_numpy() == pytest.approx(said[0]["p_spam"].to_numpy(), abs=bound)


class Interrupt(Exception):
    """Stands for what stops a training."""


class StopAt:
    def __init__(self, step: int) -> None:
        self.step = step

    def metrics(self, values: dict[str, float], step: int) -> None:
        if step == self.step and "curve/batch_loss" in values:
            raise Interrupt


@pytest.mark.ci
def test_going_on_after_an_interruption_changes_no_bit(tmp_path: Path) -> None:
    options = {"trainable": "last_block", "keep": "best", "epochs": 2}
    read(tmp_path, trainable="last_block")
    splits = Splits(tmp_path / "train.parquet", tmp_path / "validation.parquet")
    config = TrainConfig(**(QUICK | options))

    def go(name: str, logger: object) -> None:
        (tmp_path / name).mkdir(exist_ok=True)
        fine_tune(splits, Classes(LABELS), Start(DRY), config, logger, tmp_path / name, tmp_path / "frozen")

    go("whole", NoLogger())
    with pytest.raises(Interrupt):
        go("parts", StopAt(13))
    assert (tmp_path / "parts/checkpoint").is_dir()
    go("parts", NoLogger())
    whole, parts = weights(tmp_path, "whole"), weights(tmp_path, "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert losses(tmp_path, "whole") == losses(tmp_path, "parts")


@pytest.mark.ci
def test_the_best_weights_are_kept(tmp_path: Path) -> None:
    read(tmp_path, trainable="last_block")
    options = {"trainable": "last_block", "keep": "best", "learning_rate": 1.0, "eval_every": 1, "eval_batches": None}
    facts = tune(tmp_path, model=DRY, epochs=3, frozen=tmp_path / "frozen", **options)
    history = pd.read_parquet(tmp_path / "out/history.parquet")
    best = history.loc[history["validation_loss"].idxmin()]
    assert facts["kept_step"] == best["step"] < facts["steps"]
    validation = pd.read_parquet(tmp_path / "validation.parquet")
    predicted = load_classifier(tmp_path / "out/model").predict(validation["text"].tolist())
    assert (predicted["label"].to_numpy() == validation["label"].to_numpy()).mean() == best["validation_accuracy"]


def test_states_that_would_take_too_much_room_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen, "LARGEST", 1000)
    facts = read(tmp_path, trainable="last_block")
    assert not facts["kept"]
    assert facts["tokens"]["validation"] > 12
    assert not list((tmp_path / "frozen").iterdir())


@pytest.mark.parametrize(
    ("trainable", "dropout", "layers", "expected"),
    [
        ("last_block", 0.0, 2, True),
        ("last_layer", 0.0, 1, True),
        ("last_block", 0.1, 2, False),
        ("last_two_blocks", 0.0, 2, False),
        ("all", 0.0, 2, False),
        ("lora", 0.0, 2, False),
    ],
)
def test_for_which_recipes_states_are_kept(trainable: str, dropout: float, layers: int, expected: bool) -> None:
    size = {"layers": layers, "heads": 2, "width": 32, "context": 32}
    model = ModelConfig(size=size, weights="random", dropout=dropout)
    assert uses_cached_features(model, TrainConfig(trainable=trainable)) == expected
