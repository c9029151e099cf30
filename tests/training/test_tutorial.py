"""`spam-book` step by step against the tutorial's own training code, from the same weights, on the same batches."""

from pathlib import Path

import pandas as pd
import pytest
import torch

from components.core.records import NoLogger
from components.models.config import GPTSize, LoraConfig, ModelConfig
from components.models.tokenizer import end_of_text, load_tokenizer
from components.training.batching import in_batches, pad, shuffled
from components.training.classification import Classes, build_classifier, fine_tune, prepare
from components.training.fine_tuning import Splits, Start
from pipelines.config import load_config
from tests.tutorial import tutorial_classifier

LABELS = ["ham", "spam"]
TOLERANCE = 1e-3


@pytest.fixture
def splits(tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Train and validation of `spam-book`, on the real messages."""
    from components.data.download import download
    from components.data.split.labelled import split
    from components.data.validation.labelled import validate

    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(shared_data / "tiktoken-cache"))
    config = load_config("spam-book")
    for name in ("download", "validate", "split"):
        (tmp_path / name).mkdir()
    download(config.source, tmp_path / "cache", shared_data, tmp_path / "download")
    validate(tmp_path / "download/table.parquet", config.validation, tmp_path / "validate")
    split(tmp_path / "validate/table.parquet", config.split, config.balance, LABELS, tmp_path / "split")
    return tmp_path / "split/train.parquet", tmp_path / "split/validation.parquet"


def check(splits: tuple[Path, Path], out: Path, size: GPTSize | str, count: int = 20, **options: object) -> None:
    """Train both ways and compare the loss of every step, and what an evaluation says in the end."""
    ch06 = pytest.importorskip("llms_from_scratch.ch06")
    preset = load_config("spam-book", ["model.weights=random"])
    model = ModelConfig(size=size, weights="random", tie_embeddings=False)
    config = preset.train.model_copy(update={"max_steps": count, "eval_every": count, "device": "cpu", **options})
    fine_tune(Splits(*splits), Classes(LABELS), Start(model), config, NoLogger(), out)
    steps, history = pd.read_parquet(out / "steps.parquet"), pd.read_parquet(out / "history.parquet")

    encoding = load_tokenizer(model.vocabulary)
    data = prepare(*splits, LABELS, encoding, config, model.shape.context)
    order = torch.Generator().manual_seed(config.seed)
    chosen = list(shuffled(len(data.train), config.batch_size, order))[:count]
    batches = [as_theirs(data.train, rows, data.length, encoding) for rows in chosen]

    tutorial = tutorial_classifier(build_classifier(model, LoraConfig(), config, 2, encoding.n_vocab))
    optimiser = torch.optim.AdamW(tutorial.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    losses = []
    for inputs, targets in batches:
        optimiser.zero_grad()
        loss = ch06.calc_loss_batch(inputs, targets, tutorial, "cpu")
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert steps["loss"].tolist() == pytest.approx(losses, abs=TOLERANCE)

    looked_at = [
        [
            as_theirs(split, rows, data.length, encoding)
            for rows in list(in_batches(range(len(split)), config.batch_size))[:5]
        ]
        for split in (data.train, data.validation)
    ]
    expected = ch06.evaluate_model(tutorial, *looked_at, "cpu", 5)
    last = history.iloc[-1]
    assert (last["train_loss"], last["validation_loss"]) == pytest.approx(expected, abs=TOLERANCE)
    accuracies = [ch06.calc_accuracy_loader(loader, tutorial, "cpu", 5) for loader in looked_at]
    # A row between both classes may fall either way.
    assert [last["train_accuracy"], last["validation_accuracy"]] == pytest.approx(accuracies, abs=1 / 40 + 1e-9)


def as_theirs(examples, rows, length, encoding):
    batch = pad(examples, rows, end_of_text(encoding), length)
    return batch.tokens, batch.labels


@pytest.mark.ci
@pytest.mark.parametrize("trainable", ["last_block", pytest.param("all", marks=pytest.mark.slow)])
def test_losses_and_evaluations_equal_the_tutorials(splits: tuple[Path, Path], tmp_path: Path, trainable: str) -> None:
    small = GPTSize(layers=4, heads=4, width=64, context=1024)
    check(splits, tmp_path, small, trainable=trainable, learning_rate=5e-4)


@pytest.mark.slow
def test_losses_and_evaluations_equal_the_tutorials_at_124m(splits: tuple[Path, Path], tmp_path: Path) -> None:
    check(splits, tmp_path, "124M", count=6)  # 20 take five minutes on one core, and agree as well
