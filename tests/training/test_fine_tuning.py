"""Fine-tuning: it learns, it repeats itself bit by bit, it keeps the right weights, and it says what it cannot do."""

import pickle
from pathlib import Path

import pandas as pd
import pytest
import torch

from components.core.errors import ConfigError, TrainingError
from components.models.classifier import Classifier
from components.models.devices import pick_device, pick_precision
from components.models.lora import merge_adapters
from components.models.saved.adapter import load_adapter
from components.models.saved.classifier import load_classifier
from components.models.tokenizer import load_tokenizer
from components.models.weights import make_transformer, save_weights
from components.training.classification import Classes, fine_tune
from components.training.config import TrainConfig
from components.training.fine_tuning import Splits, Start
from components.training.loop import NotFinite
from tests.training.tuning import LABELS, MODEL, QUICK, Recorder, tune, weights, write_splits


@pytest.mark.ci
def test_it_learns_what_can_be_learned(tmp_path: Path) -> None:
    facts = tune(tmp_path, epochs=6)
    history = pd.read_parquet(tmp_path / "out/history.parquet")
    assert history["validation_accuracy"].iloc[-1] == 1.0
    assert history["validation_loss"].iloc[-1] < history["validation_loss"].iloc[0] / 2
    assert facts["steps"] == 60
    predicted = load_classifier(tmp_path / "out/model").predict(["win a prize today", "see you soon then"])
    assert predicted["label"].tolist() == ["spam", "ham"]


@pytest.mark.ci
def test_the_same_seed_gives_the_same_weights_bit_by_bit(tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("two", 1), ("three", 2)):
        tune(tmp_path, name, max_steps=7, seed=seed)
    one, two, three = (weights(tmp_path, name) for name in ("one", "two", "three"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["head.weight"], three["head.weight"])


def test_the_callers_random_state_is_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    tune(tmp_path, max_steps=2)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.ci
@pytest.mark.parametrize("trainable", ["last_layer", "last_block"])
def test_what_is_frozen_stays_as_it_was(tmp_path: Path, trainable: str) -> None:
    tune(tmp_path, "start", max_steps=1, trainable="last_layer", learning_rate=1e-12, weight_decay=0)
    tune(tmp_path, "out", max_steps=6, trainable=trainable)
    before, after = weights(tmp_path, "start"), weights(tmp_path)
    moved = {name for name in after if not torch.allclose(before[name], after[name], atol=1e-9)}
    assert "head.weight" in moved
    prefixes = ("head.",) if trainable == "last_layer" else ("head.", "transformer.h.1.", "transformer.ln_f.")
    assert all(name.startswith(prefixes) for name in moved)


@pytest.mark.ci
def test_a_classifiers_adapters_and_head_are_left_apart_as_well(tmp_path: Path) -> None:
    tune(tmp_path, max_steps=8, trainable="lora")
    tune(tmp_path, "plain", max_steps=1)
    assert not (tmp_path / "plain/adapter").exists()
    merged = load_classifier(tmp_path / "out/model").model
    vocabulary = merged.transformer.vocab_size
    again = Classifier(make_transformer(MODEL, vocabulary, None, TrainConfig().seed), len(LABELS))
    load_adapter(again, tmp_path / "out/adapter")
    merge_adapters(again.transformer)
    for name, parameter in again.named_parameters():
        torch.testing.assert_close(parameter, merged.get_parameter(name), atol=1e-6, rtol=0)


@pytest.mark.ci
@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_weights_that_are_kept(tmp_path: Path, keep: str) -> None:
    # So high a rate that the loss rises again after it fell.
    facts = tune(tmp_path, keep=keep, epochs=3, learning_rate=0.1, eval_every=1, eval_batches=None)
    history = pd.read_parquet(tmp_path / "out/history.parquet")
    best = history.loc[history["validation_loss"].idxmin()]
    assert facts["best_step"] == best["step"] < facts["steps"]
    assert facts["kept_step"] == (best["step"] if keep == "best" else facts["steps"])
    assert (tmp_path / "out/best.safetensors").exists() == (keep == "last")
    expected = best if keep == "best" else history.iloc[-1]
    validation = pd.read_parquet(tmp_path / "validation.parquet")
    predicted = load_classifier(tmp_path / "out/model").predict(validation["text"].tolist())
    assert (predicted["label"].to_numpy() == validation["label"].to_numpy()).mean() == expected["validation_accuracy"]


@pytest.mark.ci
def test_every_step_and_evaluation_is_logged(tmp_path: Path) -> None:
    logger = Recorder()
    tune(tmp_path, logger=logger, max_steps=11)
    steps = [step for step, values in logger.rows if "curve/batch_loss" in values]
    evaluations = [step for step, values in logger.rows if "curve/validation_loss" in values]
    assert steps == list(range(1, 12))
    assert evaluations == [0, 5, 10, 11]
    assert pd.read_parquet(tmp_path / "out/history.parquet")["examples_seen"].tolist() == [0, 20, 40, 44]


def test_padding_to_the_longest_of_train_is_the_models_length(tmp_path: Path) -> None:
    facts = tune(tmp_path, max_steps=2, padding="train", pooling="last_position")
    assert facts["padded_length"] == facts["longest_train_tokens"]
    assert load_classifier(tmp_path / "out/model").card.padding == facts["longest_train_tokens"]


@pytest.mark.ci
def test_padding_does_not_change_what_the_last_token_sees(tmp_path: Path) -> None:
    dry = MODEL.model_copy(update={"dropout": 0.0})
    for name, padding in (("batch", "batch"), ("fixed", 32)):
        tune(tmp_path, name, model=dry, max_steps=5, padding=padding)
    curves = [pd.read_parquet(tmp_path / name / "steps.parquet")["loss"].tolist() for name in ("batch", "fixed")]
    assert curves[0] == pytest.approx(curves[1], abs=1e-5)


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"lower train\.learning_rate"):
        tune(tmp_path, epochs=50, learning_rate=1, weight_decay=1e30, clip=None)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("train", "the loss of step 1 is nan; lower train.learning_rate"),
        ("validation", "the loss of 12 validation rows after step 0 is nan; look at model.weights, and at these rows"),
    ],
)
def test_the_rows_whose_loss_is_no_number_are_kept(tmp_path: Path, where: str, message: str) -> None:
    write_splits(tmp_path)
    start = weights_that_cannot_read(" prize", tmp_path / "start")
    paths = tmp_path / "train.parquet", tmp_path / "validation.parquet"
    # Evaluations look at the first rows: those of train are fine, those of validation only if training is to begin.
    frame = pd.read_parquet(paths[0]).sort_values("label", kind="stable")
    frame.to_parquet(paths[0], index=False)
    if where == "train":
        validation = pd.read_parquet(paths[1])
        validation[validation["label"] == "ham"].to_parquet(paths[1], index=False)
    config = TrainConfig(**(QUICK | {"batch_size": 12, "eval_batches": 1, "seed": 1}))
    (tmp_path / "out").mkdir()
    with pytest.raises(NotFinite, match=message) as caught:
        fine_tune(Splits(*paths), Classes(LABELS), Start(MODEL, start), config, Recorder(), tmp_path / "out")
    assert caught.value.evidence == tmp_path / "out"
    rows = pd.read_parquet(tmp_path / "out/batch.parquet")
    expected = pd.read_parquet(tmp_path / f"{where}.parquet")["text"].iloc[caught.value.rows]
    assert rows["text"].tolist() == expected.tolist()
    assert rows["text"].str.contains("prize").any()
    assert rows["tokens"].map(len).min() > 0
    again = pickle.loads(pickle.dumps(caught.value))  # as Prefect does
    assert (str(again), again.rows, again.evidence) == (str(caught.value), caught.value.rows, caught.value.evidence)


def weights_that_cannot_read(token: str, folder: Path) -> Path:
    encoding = load_tokenizer(MODEL.vocabulary)
    start = make_transformer(MODEL, encoding.n_vocab, None, seed=0)
    with torch.no_grad():
        start.wte.weight[encoding.encode_single_token(token)] = 3e38  # whose mean is none
    folder.mkdir()
    save_weights(start, folder / "model.safetensors")
    return folder


def test_a_device_that_is_not_there_is_named() -> None:
    missing = "mps" if torch.cuda.is_available() else "cuda"
    with pytest.raises(ConfigError, match=rf"train.device={missing}, but this machine has no such device"):
        pick_device(missing)


def test_precision() -> None:
    cpu = torch.device("cpu")
    assert pick_precision("bf16", cpu) == "bf16"
    assert pick_precision("auto", cpu) in {"bf16", "fp32"}


@pytest.mark.slow
def test_bf16_learns_as_well(tmp_path: Path) -> None:
    tune(tmp_path, epochs=6, precision="bf16")
    assert pd.read_parquet(tmp_path / "out/history.parquet")["validation_accuracy"].iloc[-1] == 1.0


def test_weights_of_another_vocabulary_are_refused(tmp_path: Path) -> None:
    tune(tmp_path, max_steps=1)
    vocabulary = tmp_path / "other.tiktoken"
    lines = (tmp_path / "out/model/vocabulary.tiktoken").read_text().splitlines()
    lines[300] = f"{'enp6'} {lines[300].split()[1]}"
    vocabulary.write_text("\n".join(lines) + "\n")
    other = MODEL.model_copy(update={"vocabulary": str(vocabulary)})
    (tmp_path / "again").mkdir()
    paths = (tmp_path / "train.parquet", tmp_path / "validation.parquet")
    start = Start(other, tmp_path / "out/model")
    with pytest.raises(ConfigError, match="another vocabulary"):
        fine_tune(Splits(*paths), Classes(LABELS), start, TrainConfig(**QUICK), Recorder(), tmp_path / "again")
