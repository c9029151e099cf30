"""Fine-tuning: it learns, it repeats itself bit by bit, it keeps the right weights, and it says what it cannot do."""

import pickle
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from components.errors import ConfigError, TrackingError, TrainingError
from components.model.config import LoraConfig, ModelConfig
from components.model.saved import load_classifier
from components.model.tokenizer import load_tokenizer
from components.model.weights import make_transformer, save_weights
from components.records import Facts
from components.store import Store
from components.training.classification import fine_tune
from components.training.config import TrainConfig
from components.training.devices import pick_device, pick_precision
from components.training.loop import NotFinite

LABELS = ["ham", "spam"]
MODEL = ModelConfig(
    size={"layers": 2, "heads": 2, "width": 32, "context": 32},
    weights="random",
    vocabulary="sample://vocabulary.tiktoken",
    dropout=0.1,
)
QUICK = {
    "trainable": "all",
    "learning_rate": 3e-3,
    "batch_size": 4,
    "eval_every": 5,
    "device": "cpu",
    "precision": "fp32",
}


class Recorder:
    """A logger that remembers."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []

    def metrics(self, values: dict[str, float], step: int) -> None:
        self.rows.append((step, values))


def write_splits(folder: Path) -> None:
    """Messages that one word gives away."""
    for name, count in (("train", 40), ("validation", 12)):
        texts = [f"{'win a prize' if row % 2 else 'see you soon'} number {row}" for row in range(count)]
        labels = [LABELS[row % 2] for row in range(count)]
        pd.DataFrame({"text": texts, "label": labels}).to_parquet(folder / f"{name}.parquet")


def tune(
    folder: Path,
    name: str = "out",
    logger: Recorder | None = None,
    model: ModelConfig = MODEL,
    lora: LoraConfig | None = None,
    class_weights: list[float] | None = None,
    out: Path | None = None,
    **options: object,
) -> Facts:
    if not (folder / "train.parquet").exists():
        write_splits(folder)
    if out is None:
        out = folder / name
        out.mkdir()
    config = TrainConfig(**(QUICK | options))
    train, validation = folder / "train.parquet", folder / "validation.parquet"
    logger = logger or Recorder()
    return fine_tune(train, validation, LABELS, model, config, None, None, logger, out, lora, class_weights)


def weights(folder: Path, name: str = "out") -> dict[str, torch.Tensor]:
    return load_file(folder / name / "model/model.safetensors")


def test_it_learns_what_can_be_learned(tmp_path: Path) -> None:
    facts = tune(tmp_path, epochs=6)
    history = pd.read_parquet(tmp_path / "out/history.parquet")
    assert history["validation_accuracy"].iloc[-1] == 1.0
    assert history["validation_loss"].iloc[-1] < history["validation_loss"].iloc[0] / 2
    assert facts["steps"] == 60
    predicted = load_classifier(tmp_path / "out/model").predict(["win a prize today", "see you soon then"])
    assert predicted["label"].tolist() == ["spam", "ham"]


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


@pytest.mark.parametrize("trainable", ["last_layer", "last_block"])
def test_what_is_frozen_stays_as_it_was(tmp_path: Path, trainable: str) -> None:
    tune(tmp_path, "start", max_steps=1, trainable="last_layer", learning_rate=1e-12, weight_decay=0)
    tune(tmp_path, "out", max_steps=6, trainable=trainable)
    before, after = weights(tmp_path, "start"), weights(tmp_path)
    moved = {name for name in after if not torch.allclose(before[name], after[name], atol=1e-9)}
    assert "head.weight" in moved
    prefixes = ("head.",) if trainable == "last_layer" else ("head.", "transformer.h.1.", "transformer.ln_f.")
    assert all(name.startswith(prefixes) for name in moved)


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
        fine_tune(*paths, LABELS, MODEL, config, start, None, Recorder(), tmp_path / "out")
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
        start.wte.weight[encoding.encode_single_token(token)] = float("nan")
    folder.mkdir()
    save_weights(start, folder / "model.safetensors")
    return folder


class Impatient(Recorder):
    """A logger that presses Ctrl-C when a step is logged."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def metrics(self, values: dict[str, float], step: int) -> None:
        super().metrics(values, step)
        if step == self.step:
            signal.raise_signal(signal.SIGINT)


@pytest.fixture
def heeded() -> Iterator[None]:
    """Ctrl-C is ignored where tests run in a shell's background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded")
def test_an_interrupted_training_keeps_a_model_and_its_history(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt) as caught:
        tune(tmp_path, logger=Impatient(7), epochs=3)
    assert caught.value.evidence == tmp_path / "out"  # type: ignore[attr-defined]
    assert pd.read_parquet(tmp_path / "out/steps.parquet")["step"].tolist() == list(range(1, 8))
    predicted = load_classifier(tmp_path / "out/model").predict(["see you soon"])
    assert predicted["probability"].between(0, 1).all()


@pytest.mark.usefixtures("heeded")
@pytest.mark.parametrize(("keep", "trainable"), [("best", "all"), ("last", "lora")])
@pytest.mark.parametrize("stop", [1, 7, 10])
def test_an_interrupted_training_goes_on_as_if_it_had_not_been(
    tmp_path: Path, stop: int, keep: str, trainable: str
) -> None:
    options = {"epochs": 2, "keep": keep, "trainable": trainable, "schedule": "cosine", "warmup": 3}
    whole = Recorder()
    expected = tune(tmp_path, "whole", whole, **options)
    store, resumed = Store(tmp_path / "store"), Recorder()

    def write(logger: Recorder) -> Callable[[Path], Facts]:
        return lambda out: tune(tmp_path, "unused", logger, out=out, **options)

    with pytest.raises(KeyboardInterrupt) as caught:
        store.produce("fine_tune", "k", write(Impatient(stop)))
    assert len(pd.read_parquet(caught.value.evidence / "steps.parquet")) == stop  # type: ignore[attr-defined]
    manifest = store.produce("fine_tune", "k", write(resumed))
    assert manifest.facts == expected
    assert sorted(resumed.rows, key=str) == sorted(whole.rows, key=str)
    for file in (path for path in (tmp_path / "whole").rglob("*") if path.is_file()):
        name = file.relative_to(tmp_path / "whole")
        assert (manifest.folder / name).read_bytes() == file.read_bytes(), name
    assert not list((tmp_path / "store").rglob("checkpoint"))


@pytest.mark.usefixtures("heeded")
@pytest.mark.parametrize("harm", ["gone", "junk", "of something else"])
@pytest.mark.parametrize("name", ["weights", "moments", "random", "best"])
def test_a_checkpoint_that_is_not_whole_is_left_aside(tmp_path: Path, name: str, harm: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        tune(tmp_path, "stopped", Impatient(3), max_steps=5)
    file = tmp_path / f"stopped/checkpoint/{name}.safetensors"
    if harm == "gone":
        file.unlink()
    elif harm == "junk":
        file.write_bytes(b"junk")
    else:
        save_file({"0.else": torch.zeros(3)}, file)
    if (name, harm) == ("best", "of something else"):
        pytest.skip("it is whole, and only ours are ever written there")
    for history in ("steps", "history") if harm == "junk" else ():
        (tmp_path / f"stopped/checkpoint/{history}.parquet").write_bytes(b"junk")
    (tmp_path / "again").mkdir()
    (tmp_path / "stopped/checkpoint").rename(tmp_path / "again/checkpoint")
    anew = tune(tmp_path, out=tmp_path / "again", max_steps=5)
    assert anew == tune(tmp_path, "whole", max_steps=5)
    assert weights(tmp_path, "again")["head.weight"].equal(weights(tmp_path, "whole")["head.weight"])
    assert not (tmp_path / "again/checkpoint").exists()


def test_an_error_that_has_nothing_to_do_with_training_does_not_cost_it(tmp_path: Path) -> None:
    class Broken(Recorder):
        def metrics(self, values: dict[str, float], step: int) -> None:
            super().metrics(values, step)
            if step == 6:
                raise TrackingError("the server is gone")

    store, resumed = Store(tmp_path / "store"), Recorder()
    with pytest.raises(TrackingError) as caught:
        store.produce("fine_tune", "k", lambda out: tune(tmp_path, logger=Broken(), out=out, max_steps=9))
    assert caught.value.evidence == tmp_path / "store/fine_tune/k.failed"
    manifest = store.produce("fine_tune", "k", lambda out: tune(tmp_path, logger=resumed, out=out, max_steps=9))
    assert manifest.facts == tune(tmp_path, "whole", max_steps=9)
    whole = weights(tmp_path, "whole")
    assert load_file(manifest.folder / "model/model.safetensors")["head.weight"].equal(whole["head.weight"])
    assert not caught.value.evidence.exists()


@pytest.mark.usefixtures("heeded")
def test_an_interruption_after_the_last_step_waits_until_the_result_is_in_its_place(tmp_path: Path) -> None:
    def write(out: Path) -> Facts:
        facts = tune(tmp_path, out=out, max_steps=3)
        signal.raise_signal(signal.SIGINT)
        return facts

    store = Store(tmp_path / "store")
    with pytest.raises(KeyboardInterrupt):
        store.produce("fine_tune", "k", write)
    found = store.find("fine_tune", "k")
    assert found is not None
    assert found.facts["steps"] == 3
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("heeded")
def test_a_second_interruption_does_not_lose_what_the_first_one_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from components.training import classification

    keep = classification.write_checkpoint

    def impatiently(*arguments: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        keep(*arguments)

    monkeypatch.setattr(classification, "write_checkpoint", impatiently)
    store = Store(tmp_path / "store")
    with pytest.raises(KeyboardInterrupt):
        store.produce("fine_tune", "k", lambda out: tune(tmp_path, logger=Impatient(3), out=out))
    kept = tmp_path / "store/fine_tune/k.interrupted"
    assert (kept / "checkpoint/weights.safetensors").exists()
    assert (kept / "model/model.safetensors").exists()


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
    with pytest.raises(ConfigError, match="another vocabulary"):
        fine_tune(
            *paths, LABELS, other, TrainConfig(**QUICK), tmp_path / "out/model", None, Recorder(), tmp_path / "again"
        )
