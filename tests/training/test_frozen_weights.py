"""Frozen weights rounded once: the same gradients bit by bit, and a saved model that knows nothing of it."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from components.models.config import LoraConfig
from components.models.language_model import LanguageModel
from components.models.weights import make_gpt
from components.training.config import InstructionTrainConfig
from components.training.frozen_weights import restore_frozen, round_frozen
from components.training.instruction import build_gpt
from components.training.objectives.instruction import Entries, Instruction
from tests.training.instructing import MODEL, instruct

CPU = torch.device("cpu")
WORDS = 50
STILL = MODEL.model_copy(update={"dropout": 0.0})


def gradients(model: LanguageModel, config: InstructionTrainConfig) -> tuple[float, dict[str, torch.Tensor]]:
    entries = Entries.of(([row % 7, 3, 4], [row % 5, 6]) for row in range(8))
    objective = Instruction(model, entries, entries, config, CPU, "bf16", end=0)
    loss = objective.measure(objective.batch("train", list(range(8)))).loss
    loss.backward()
    return loss.item(), {name: each.grad for name, each in model.named_parameters() if each.grad is not None}


@pytest.mark.ci
@pytest.mark.parametrize("options", [{}, {"gradient_checkpointing": True}, {"trainable": "last_block"}])
@pytest.mark.parametrize("tie", [True, False])
def test_gradients_are_the_same_bit_by_bit(options: dict[str, object], tie: bool) -> None:
    config = InstructionTrainConfig(**({"trainable": "lora"} | options))
    model = STILL.model_copy(update={"tie_embeddings": tie})
    make: Callable[[], LanguageModel] = partial(build_gpt, model, LoraConfig(), config, WORDS, None)
    plain, rounded = make(), make()
    round_frozen(rounded)
    dtypes = {name: each.dtype for name, each in rounded.named_parameters()}
    assert dtypes["transformer.h.0.attn.c_attn.weight"] == torch.bfloat16
    assert dtypes["transformer.wte.weight"] == dtypes["transformer.h.0.ln_1.weight"] == torch.float32
    expected, found = gradients(plain, config), gradients(rounded, config)
    assert found[0] == expected[0]
    assert found[1].keys() == expected[1].keys()
    assert all(torch.equal(found[1][name], gradient) for name, gradient in expected[1].items())

    restore_frozen(rounded, partial(make_gpt, model, WORDS, None, config.seed))
    restored = dict(rounded.named_parameters())
    assert all(torch.equal(restored[name], parameter) for name, parameter in plain.named_parameters())


def test_what_trains_is_not_rounded() -> None:
    model = build_gpt(STILL, LoraConfig(), InstructionTrainConfig(trainable="all"), WORDS)
    round_frozen(model)
    assert {each.dtype for each in model.parameters()} == {torch.float32}


@pytest.mark.ci
@pytest.mark.parametrize("keep", ["best", "last"])
def test_weights_that_did_not_train_are_saved_as_they_were(tmp_path: Path, keep: str) -> None:
    instruct(tmp_path, "first", max_steps=2)
    first = tmp_path / "first/model"
    instruct(tmp_path, "second", weights=first, precision="bf16", trainable="last_block", max_steps=6, keep=keep)
    before, after = (load_file(tmp_path / name / "model/model.safetensors") for name in ("first", "second"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {after[name].dtype for name in after} == {torch.float32}
    assert changed
    assert all(name.startswith(("transformer.h.1.", "transformer.ln_f.", "transformer.wte.")) for name in changed)


def test_adapters_are_merged_into_fp32_weights(tmp_path: Path) -> None:
    instruct(tmp_path, "first", max_steps=2)
    lora = LoraConfig(rank=2)
    first = tmp_path / "first/model"
    instruct(tmp_path, "second", weights=first, precision="bf16", trainable="lora", lora=lora, max_steps=6)
    before, after = (load_file(tmp_path / name / "model/model.safetensors") for name in ("first", "second"))
    name = "transformer.h.0.mlp.c_fc.weight"
    update = torch.linalg.svdvals((after[name] - before[name]).double())
    assert update[1] > 1e-4
    assert update[2] < 1e-6  # a base that had been rounded would show here, in all places
