"""Fine-tuning on instructions: what it learns, what it leaves, and that it equals others' results."""

import json
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from components.core.errors import ConfigError
from components.core.store import Store
from components.models.config import LoraConfig, ModelConfig
from components.models.lora import LoraLinear, merge_adapters
from components.models.saved.language_model import load_gpt
from components.models.tokenizer import load_tokenizer
from components.models.weights import make_gpt
from components.training.config import InstructionTrainConfig
from components.training.instruction import build_gpt, prepare, tokenise
from components.training.loop import Trainer
from components.training.objectives.instruction import Instruction
from tests.training.instructing import MODEL, PROMPT, QUICK, instruct, write_splits
from tests.training.tuning import Recorder

CPU = torch.device("cpu")


def model_weights(folder: Path, name: str = "out") -> dict[str, torch.Tensor]:
    return load_file(folder / name / "model/model.safetensors")


def objective(
    folder: Path, model: ModelConfig = MODEL, lora: LoraConfig | None = None, **options: object
) -> Instruction:
    write_splits(folder)
    config = InstructionTrainConfig(**(QUICK | options))
    encoding = load_tokenizer(model.vocabulary)
    paths = folder / "train.parquet", folder / "validation.parquet"
    data = prepare(*paths, PROMPT.resolved(encoding), encoding, config, model.shape.context)
    gpt = build_gpt(model, lora or LoraConfig(), config, encoding.n_vocab)
    return Instruction(gpt, data.train, data.validation, config, CPU, "fp32", encoding.n_vocab - 1)


def trainer(learnt: Instruction) -> Trainer:
    return Trainer(learnt, Recorder(), lambda *_: None, best=None)


@pytest.mark.ci
@pytest.mark.parametrize("options", [{}, {"batching": "packed"}, {"batching": "padded", "mask_prompt": False}])
def test_it_learns_and_says_what_it_did(tmp_path: Path, options: dict[str, object]) -> None:
    logger = Recorder()
    facts = instruct(tmp_path, logger=logger, epochs=6, **options)
    history = pd.read_parquet(tmp_path / "out/history.parquet")
    assert history["validation_loss"].iloc[-1] < 0.8 * history["validation_loss"].iloc[0]
    assert facts["initial_validation_loss"] == history["validation_loss"].iloc[0]
    assert facts["validation_perplexity"] == pytest.approx(np.exp(history["validation_loss"].min()))
    steps = pd.read_parquet(tmp_path / "out/steps.parquet")
    assert facts["steps"] == len(steps) == 60
    read = tokenise(tmp_path / "train.parquet", PROMPT.resolved(None), load_tokenizer(MODEL.vocabulary)).lengths
    assert facts["tokens_seen"] == steps["tokens_seen"].iloc[-1] == 6 * read.sum()
    assert history["tokens_seen"].iloc[0] == 0
    logged = {name for _, values in logger.rows for name in values}
    assert {"curve/validation_perplexity", "curve/tokens_seen", "curve/batch_loss"} <= logged
    assert 0 < facts["trained_token_share"] <= 1
    assert (facts["trained_token_share"] == 1) == ("mask_prompt" in options)


@pytest.mark.ci
def test_a_sample_response_stands_beside_every_evaluation(tmp_path: Path) -> None:
    instruct(tmp_path, epochs=2)
    samples, history = (pd.read_parquet(tmp_path / f"out/{name}.parquet") for name in ("samples", "history"))
    assert samples["step"].tolist() == history["step"].tolist() == [0, 5, 10, 15, 20]
    assert samples["instruction"].unique().tolist() == ["say yes or no to 0"]
    assert samples["reference"].unique().tolist() == ["no"]
    assert samples["response"].nunique() == 5, "the model that answers is not the one that learns"


@pytest.mark.ci
def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    for name in ("one", "two"):
        instruct(tmp_path, name, max_steps=6)
    one, two = model_weights(tmp_path, "one"), model_weights(tmp_path, "two")
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.ci
@pytest.mark.parametrize("mask_prompt", [True, False])
@pytest.mark.parametrize("batching", ["padded", "packed"])
def test_an_accumulated_step_has_the_gradient_of_the_large_batch(
    tmp_path: Path, batching: str, mask_prompt: bool
) -> None:
    still = MODEL.model_copy(update={"dropout": 0.0})
    gradients, losses = [], []
    for size, accumulate in ((8, 1), (2, 4), (1, 8)):
        learnt = objective(
            tmp_path,
            still,
            batch_size=size,
            accumulate=accumulate,
            batching=batching,
            mask_prompt=mask_prompt,
            max_steps=1,
        )
        losses.append(trainer(learnt).fit().steps[0].loss)
        gradients.append(torch.cat([tensor.grad.flatten() for tensor in learnt.model.parameters()]))
    assert losses == pytest.approx([losses[0]] * 3, abs=1e-5)
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0], atol=1e-6, rtol=1e-4)


@pytest.mark.ci
def test_gradient_checkpointing_changes_memory_and_nothing_else(tmp_path: Path) -> None:
    kept = []
    for name in (False, True):
        instruct(tmp_path, str(name), max_steps=4, gradient_checkpointing=name)
        kept.append(model_weights(tmp_path, str(name)))
    assert all(torch.allclose(kept[0][name], kept[1][name], atol=1e-6) for name in kept[0])
    learnt = objective(tmp_path, gradient_checkpointing=True)
    saved: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor.numel()) or tensor, lambda t: t):
        learnt.measure(learnt.batch("train", [0, 1]))
    plain = objective(tmp_path)
    count = len(saved)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor.numel()) or tensor, lambda t: t):
        plain.measure(plain.batch("train", [0, 1]))
    assert count < 0.6 * (len(saved) - count)


@pytest.mark.ci
def test_bf16_learns_about_the_same(tmp_path: Path) -> None:
    losses = {}
    for precision in ("fp32", "bf16"):
        facts = instruct(tmp_path, precision, precision=precision, max_steps=10)
        assert facts["precision"] == precision
        losses[precision] = pd.read_parquet(tmp_path / precision / "steps.parquet")["loss"].to_numpy()
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.02)
    assert (losses["bf16"] != losses["fp32"]).any()
    assert all(tensor.dtype == torch.float32 for tensor in model_weights(tmp_path, "bf16").values())


@pytest.mark.ci
def test_merged_adapters_give_the_adapters_logits(tmp_path: Path) -> None:
    learnt = objective(tmp_path, lora=LoraConfig(rank=4, alpha=8), trainable="lora", learning_rate=1e-2, max_steps=8)
    assert all(name.endswith(("lora_a", "lora_b")) for name, p in learnt.model.named_parameters() if p.requires_grad)
    trainer(learnt).fit()
    tokens = torch.randint(0, 500, (3, 20), generator=torch.Generator().manual_seed(0))
    learnt.model.eval()
    with torch.inference_mode():
        adapted = learnt.model(tokens)
        merge_adapters(learnt.model.transformer)
        assert not any(isinstance(layer, LoraLinear) for layer in learnt.model.modules())
        merged = learnt.model(tokens)
    assert (adapted - merged).abs().max() < 1e-4
    start = objective(tmp_path).model.eval()
    assert (start(tokens) - merged).abs().max() > 1e-2, "the adapters have learnt nothing"


@pytest.mark.one_case
@pytest.mark.parametrize(("precision", "keep"), [("fp32", "best"), ("bf16", "last")])
def test_adapters_are_left_apart_as_well(tmp_path: Path, precision: str, keep: str) -> None:
    lora = LoraConfig(rank=4, targets="attention", dora=True)
    instruct(tmp_path, lora=lora, trainable="lora", max_steps=8, precision=precision, keep=keep)
    told = json.loads((tmp_path / "out/adapter/adapter_config.json").read_text())
    assert (told["base_model_name_or_path"], told["r"], told["use_dora"]) == ("random", 4, True)
    first = load_gpt(tmp_path / "out/model").model
    adapter = str(tmp_path / "out/adapter")
    begun = MODEL.model_copy(update={"adapter": adapter})
    again = make_gpt(begun, first.transformer.vocab_size, None, InstructionTrainConfig().seed)
    for name, parameter in again.named_parameters():
        assert torch.equal(parameter, first.get_parameter(name)), name
    instruct(tmp_path, "second", model=begun, trainable="lora", max_steps=1)
    told = json.loads((tmp_path / "second/adapter/adapter_config.json").read_text())
    assert told["base_model_name_or_path"] == f"random with {adapter} merged"
    instruct(tmp_path, "whole", max_steps=1)
    assert not (tmp_path / "whole/adapter").exists()


@pytest.mark.ci
@pytest.mark.parametrize("trainable", ["all", "lora", "last_block"])
def test_what_is_frozen_stays(tmp_path: Path, trainable: str) -> None:
    instruct(tmp_path, max_steps=4, trainable=trainable, keep="last")
    before = objective(tmp_path).model.state_dict()
    after = load_gpt(tmp_path / "out/model").model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    expected = {
        "all": set(before) - {"transformer.wpe.weight"},
        "lora": {name for name in before if name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight"))},
        "last_block": {name for name in before if name.startswith(("transformer.h.1.", "transformer.ln_f"))}
        | {"transformer.wte.weight"},  # which the head is tied to
    }[trainable]
    assert expected <= changed if trainable == "all" else expected == changed


@pytest.mark.long
@pytest.mark.usefixtures("heeded")
@pytest.mark.parametrize(("keep", "trainable"), [("best", "all"), ("last", "lora")])
def test_an_interrupted_training_goes_on_as_if_it_had_not_been(tmp_path: Path, keep: str, trainable: str) -> None:
    class Impatient(Recorder):
        def metrics(self, values: dict[str, float], step: int) -> None:
            super().metrics(values, step)
            if step == 7:
                signal.raise_signal(signal.SIGINT)

    options = {"epochs": 2, "keep": keep, "trainable": trainable, "schedule": "cosine", "warmup": 3}
    whole, resumed = Recorder(), Recorder()
    expected = instruct(tmp_path, "whole", whole, **options)
    store = Store(tmp_path / "store")
    with pytest.raises(KeyboardInterrupt):
        store.produce("tune", "k", lambda out: instruct(tmp_path, logger=Impatient(), out=out, **options))
    load_gpt(tmp_path / "store/tune/k.interrupted/model")
    manifest = store.produce("tune", "k", lambda out: instruct(tmp_path, logger=resumed, out=out, **options))
    assert manifest.facts == expected
    assert sorted(resumed.rows, key=str) == sorted(whole.rows, key=str)
    for file in (path for path in (tmp_path / "whole").rglob("*") if path.is_file()):
        name = file.relative_to(tmp_path / "whole")
        assert (manifest.folder / name).read_bytes() == file.read_bytes(), name


@pytest.mark.ci
def test_an_earlier_model_can_be_gone_on_from(tmp_path: Path) -> None:
    first = instruct(tmp_path, "first", epochs=2, keep="last")
    second = instruct(tmp_path, "second", max_steps=1, weights=tmp_path / "first/model")
    assert second["initial_validation_loss"] == pytest.approx(first["validation_loss"], abs=1e-6)


def test_a_run_in_which_nothing_can_be_learnt_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"every target of the 40 train entries is masked.*raise train.max_length"):
        instruct(tmp_path, max_length=4)
    assert instruct(tmp_path, "other", max_length=4, mask_prompt=False, max_steps=2)["truncated_rows"]["train"] == 40


@pytest.mark.ci
def test_steps_of_which_nothing_is_learnt_do_no_harm(tmp_path: Path) -> None:
    """Of the longest prompts nothing is left to learn; a step may have only such."""
    facts = instruct(tmp_path, max_length=22, batch_size=1, epochs=1, keep="last")
    steps = pd.read_parquet(tmp_path / "out/steps.parquet")
    assert np.isfinite(steps["loss"]).all()
    assert (steps["loss"] == 0).any()
    assert facts["truncated_rows"]["train"] > 0


def test_more_than_the_context_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train\.max_length=65 is more than the model's context: set it to 64"):
        instruct(tmp_path, max_length=65)
