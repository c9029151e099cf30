"""The options of a recipe: each does what it says, and what cannot be combined is refused with the way out."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from components.core.errors import ConfigError
from components.core.records import NoLogger
from components.models.classifier import Classifier
from components.models.config import GPTSize, LoraConfig, ModelConfig
from components.models.gpt2 import GPT2
from components.models.saved.classifier import load_classifier
from components.models.tokenizer import load_tokenizer
from components.training.batching import Examples
from components.training.classification import Classes, build_classifier, fine_tune
from components.training.config import TrainConfig
from components.training.fine_tuning import Splits, Start, train_to_end
from components.training.history import Step
from components.training.loop import Trainer, learning_rate_factor, total_steps
from components.training.objectives.classification import Classification

SIZE = GPTSize(layers=2, heads=2, width=32, context=32)
MODEL = ModelConfig(size=SIZE, weights="random", vocabulary="sample://vocabulary.tiktoken")
CPU = torch.device("cpu")
LABELS = ["ham", "spam"]


def trainer(config: TrainConfig, rows: int = 24, class_weights: list[float] | None = None, classes: int = 2) -> Trainer:
    """A trainer of a tiny classifier on random rows of 1 to 9 tokens."""
    random = np.random.default_rng(0)
    tokens = [random.integers(0, 90, size=random.integers(1, 10)).tolist() for _ in range(rows)]
    examples = Examples.of(tokens, [row % classes for row in range(rows)])
    transformer = GPT2(SIZE, 100)
    transformer.initialise(1)
    model = Classifier(transformer, classes, config.pooling, seed=2, causal=config.causal)
    weights = None if class_weights is None else torch.tensor(class_weights)
    objective = Classification(model, examples, examples, config, CPU, "fp32", 99, None, weights)
    return Trainer(objective, NoLogger(), lambda *_: None, best=None)


def write_splits(folder: Path) -> tuple[Path, Path]:
    paths = folder / "train.parquet", folder / "validation.parquet"
    for path, count in zip(paths, (24, 8), strict=True):
        texts = [f"{'win a prize' if row % 2 else 'see you soon'} number {row}" for row in range(count)]
        pd.DataFrame({"text": texts, "label": [LABELS[row % 2] for row in range(count)]}).to_parquet(path)
    return paths


@pytest.mark.ci
@pytest.mark.parametrize("class_weights", [None, [0.5, 3.0]])
@pytest.mark.parametrize(("batch_size", "accumulate"), [(4, 2), (1, 8), (3, 3)])
def test_an_accumulated_step_has_the_gradient_of_the_large_batch(
    batch_size: int, accumulate: int, class_weights: list[float] | None
) -> None:
    large = trainer(TrainConfig(batch_size=batch_size * accumulate, max_steps=1), class_weights=class_weights)
    parts = trainer(TrainConfig(batch_size=batch_size, accumulate=accumulate, max_steps=1), class_weights=class_weights)
    shown: list[tuple[float, float]] = []
    for each in (large, parts):
        each.progress = lambda _step, _epoch, loss, accuracy: shown.append((loss, accuracy))
        each.fit()
    assert shown[1] == pytest.approx(shown[0], abs=1e-6)
    for one, other in zip(large.model.parameters(), parts.model.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-6, rtol=1e-4)


def test_gradients_and_moments_are_freed_before_the_model_is_written(tmp_path: Path) -> None:
    trained, held = trainer(TrainConfig(max_steps=3)), []

    def write(_: Path, steps: Sequence[Step]) -> None:
        held.append((len(steps), len(trained.optimiser.state), [each.grad for each in trained.weights]))

    train_to_end(trained, Splits(*write_splits(tmp_path)), write, tmp_path)
    assert held == [(3, 0, [None] * len(trained.weights))]


def test_accumulation_sees_the_same_rows_in_the_same_steps() -> None:
    large, parts = TrainConfig(batch_size=8), TrainConfig(batch_size=1, accumulate=8, padding="none")
    assert total_steps(large, 1045) == total_steps(parts, 1045) == 5 * 130
    one, other = (
        [rows for _ in range(3) for rows in trainer(config).objective.epoch(torch.Generator().manual_seed(1))]
        for config in (large, parts)
    )
    assert one == other


def test_the_weighted_loss_is_that_of_torch() -> None:
    weights = [0.5, 3.0, 1.0]
    tuned = trainer(TrainConfig(batch_size=24, max_steps=1), class_weights=weights, classes=3)
    batch = tuned.objective.batch("train", list(range(24)))
    expected = torch.nn.functional.cross_entropy(
        tuned.model(batch.tokens, batch.lengths), batch.labels, weight=torch.tensor(weights)
    )
    assert tuned.fit().steps[0].loss == pytest.approx(expected.item(), abs=1e-6)


def test_the_learning_rate_rises_and_falls() -> None:
    config = TrainConfig(schedule="cosine", warmup=4)
    factor = learning_rate_factor(config, 20)
    rates = [factor(step) for step in range(21)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4] == 1.0
    assert rates[12] == pytest.approx(0.5)
    assert rates[20] == pytest.approx(0.0)
    assert all(later < earlier for earlier, later in pairwise(rates[4:]))
    assert {learning_rate_factor(TrainConfig(), 20)(step) for step in range(20)} == {1.0}
    share = learning_rate_factor(TrainConfig(warmup=0.1), 20)
    assert [share(step) for step in range(4)] == [0.5, 1.0, 1.0, 1.0]


def test_the_rate_of_each_step_is_the_schedules() -> None:
    tuned = trainer(TrainConfig(max_steps=6, schedule="cosine", warmup=2, learning_rate=1e-2, epochs=9))
    history = tuned.fit()
    factor = learning_rate_factor(tuned.config, 6)
    assert [step.learning_rate for step in history.steps] == pytest.approx([1e-2 * factor(step) for step in range(6)])


def test_a_warm_up_as_long_as_the_run_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"train\.warmup=50 is 50 steps, but the run has 20"):
        learning_rate_factor(TrainConfig(warmup=50), 20)


@pytest.mark.ci
def test_training_stops_when_the_validation_loss_no_longer_falls() -> None:
    # So high a rate that the loss cannot keep falling.
    tuned = trainer(TrainConfig(epochs=50, learning_rate=0.5, eval_every=1, early_stopping=3, batch_size=4))
    history = tuned.fit()
    assert history.best is not None
    losses = [evaluation.validation_loss for evaluation in history.evaluations]
    assert len(history.steps) == history.best.step + 3 < total_steps(tuned.config, 24)
    assert min(losses) == history.best.validation_loss == losses[-4]


@pytest.mark.ci
def test_the_facts_say_that_training_stopped_early(tmp_path: Path) -> None:
    for name, patience in (("patient", None), ("impatient", 1)):
        (tmp_path / name).mkdir()
        config = TrainConfig(
            epochs=20, max_steps=12, eval_every=1, learning_rate=0.5, early_stopping=patience, trainable="all"
        )
        paths = write_splits(tmp_path)
        facts = fine_tune(Splits(*paths), Classes(LABELS), Start(MODEL), config, NoLogger(), tmp_path / name)
        assert facts["stopped_early"] == (patience is not None)
        assert (facts["steps"] < 12) == (patience is not None)


@pytest.mark.ci
@pytest.mark.parametrize("targets", [["attn.c_attn"], ["attn.c_proj", "mlp.c_fc", "mlp.c_proj", "attn.c_attn"]])
def test_adapters_train_alone_and_are_merged_into_the_saved_model(tmp_path: Path, targets: list[str]) -> None:
    lora = LoraConfig(rank=4, alpha=8, targets=targets)
    config = TrainConfig(trainable="lora", max_steps=6, learning_rate=1e-2, keep="last", eval_every=3)
    start = build_classifier(MODEL, lora, config, 2, load_tokenizer(MODEL.vocabulary).n_vocab)
    before = {name: tensor.clone() for name, tensor in start.named_parameters()}
    facts = fine_tune(
        Splits(*write_splits(tmp_path)), Classes(LABELS), Start(MODEL, lora=lora), config, NoLogger(), tmp_path
    )
    sizes = {"attn.c_attn": 32 + 96, "attn.c_proj": 64, "mlp.c_fc": 32 + 128, "mlp.c_proj": 32 + 128}
    assert facts["trained_parameters"] == 2 * 4 * sum(sizes[target] for target in targets) + 2 * 32 + 2
    after = load_file(tmp_path / "model/model.safetensors")
    assert not any("lora" in name for name in after)
    assert {name for name in before if "lora" not in name} == set(after)
    for name, tensor in after.items():
        transposed = tensor.t() if name.endswith(tuple(f"{target}.weight" for target in sizes)) else tensor
        moved = not torch.equal(transposed, before[name])
        assert moved == (name.startswith("head.") or name.endswith(tuple(f"{target}.weight" for target in targets)))


@pytest.mark.ci
def test_the_options_of_an_experiment_are_the_saved_models_too(tmp_path: Path) -> None:
    config = TrainConfig(pooling="mean", causal=False, max_steps=2, trainable="all")
    fine_tune(Splits(*write_splits(tmp_path)), Classes(LABELS), Start(MODEL), config, NoLogger(), tmp_path)
    card = load_classifier(tmp_path / "model").card
    assert (card.pooling, card.causal) == ("mean", False)


@pytest.mark.ci
def test_texts_longer_than_the_context_are_cut_and_counted(tmp_path: Path) -> None:
    paths = write_splits(tmp_path)
    frame = pd.read_parquet(paths[0])
    frame.loc[[3, 5], "text"] = "a text that goes on and on " * 40
    frame.to_parquet(paths[0])
    facts = fine_tune(Splits(*paths), Classes(LABELS), Start(MODEL), TrainConfig(max_steps=2), NoLogger(), tmp_path)
    assert facts["truncated_rows"] == {"train": 2, "validation": 0}
    assert facts["longest_train_tokens"] == 32


@pytest.mark.parametrize(
    ("options", "way_out"),
    [
        ({"padding": "none", "batch_size": 4, "accumulate": 2}, "set train.batch_size=1 and train.accumulate=8"),
        ({"padding": "batch", "pooling": "last_position"}, "set train.padding=train, or train.pooling=last_token"),
        ({"padding": "batch", "pooling": "mean_positions"}, "set train.padding=train, or train.pooling=mean"),
        ({"padding": 40, "max_length": 20}, "set train.padding to it or less"),
        ({"padding": 0}, "padding must be batch, train, none or a positive number"),
    ],
)
def test_what_cannot_be_combined_is_refused_with_the_way_out(options: dict[str, object], way_out: str) -> None:
    with pytest.raises(ValidationError, match=way_out):
        TrainConfig(**options)
