"""What `auto` comes to, with and without PyTorch, and that results of one kind of machine are not taken on another."""

from pathlib import Path
from typing import Any

import pytest
import torch

from components.core.errors import ConfigError
from components.core.records import Manifest
from components.core.steps import Step
from components.generation.config import GenerationConfig
from components.models.config import GPTSize, LoraConfig, ModelConfig
from components.models.devices import pick_device, pick_precision
from components.models.processor import WITHOUT_BF16, multiplies_bf16, resolve
from components.prompts import PromptConfig
from components.tasks import classification, instruction
from components.training.config import InstructionTrainConfig, TrainConfig


@pytest.fixture(autouse=True)
def told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in WITHOUT_BF16:
        monkeypatch.delenv(variable, raising=False)


def test_what_is_found_without_pytorch_is_what_it_finds() -> None:
    device = pick_device("auto")
    assert resolve("auto", "auto") == (str(device), pick_precision("auto", device))
    assert resolve("cpu", "fp32") == ("cpu", "fp32")
    assert multiplies_bf16() == (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match=r"train\.device=cuda"):
            resolve("cuda", "auto")


@pytest.mark.parametrize(
    ("variable", "value"),
    [("ATEN_CPU_CAPABILITY", "avx2"), ("ATEN_CPU_CAPABILITY", "default"), ("ONEDNN_MAX_CPU_ISA", "AVX2")],
)
def test_a_processor_that_is_told_to_do_without_computes_in_fp32(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    assert resolve("cpu", "auto") == ("cpu", "fp32")


EMPTY = Manifest(step="any", key="0", folder=Path(), files={}, facts={})
MODEL = ModelConfig(
    size=GPTSize(layers=1, heads=1, width=8, context=8), weights="random", vocabulary="sample://vocabulary.tiktoken"
)
TABLES = {"splits": EMPTY, "weights": EMPTY, "model": MODEL}
STEPS: dict[str, tuple[Step[Any], dict[str, Any]]] = {
    "read_frozen": (classification.read_frozen, {**TABLES, "train": TrainConfig(device="cpu")}),
    "fine_tune": (classification.fine_tune, {**TABLES, "train": TrainConfig(device="cpu"), "lora": LoraConfig()}),
    "fine_tune_instructions": (
        instruction.fine_tune,
        {**TABLES, "prompt": PromptConfig(), "train": InstructionTrainConfig(device="cpu"), "lora": LoraConfig()},
    ),
    "respond": (
        instruction.respond,
        {"splits": EMPTY, "trained": EMPTY, "config": GenerationConfig(), "device": "cpu"},
    ),
    "respond_before": (
        instruction.respond_before,
        {**TABLES, "prompt": PromptConfig(), "config": GenerationConfig(), "device": "cpu", "seed": 1},
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_result_is_not_taken_where_auto_comes_to_something_else(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    step, arguments = STEPS[name]
    keys = set()
    for precision in ("auto", "bf16", "fp32"):
        section = "config" if "config" in arguments else "train"
        given = {**arguments, section: arguments[section].model_copy(update={"precision": precision})}
        keys |= {step.key(given), step.key(given)}
        with monkeypatch.context() as told:
            told.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
            keys.add(step.key(given))
    assert len(keys) == 2  # what `auto` came to is what it would be if it were asked for by name


def test_a_result_is_not_taken_with_another_version_of_a_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from components.core import steps, versions

    step, arguments = STEPS["fine_tune"]
    before = step.key(arguments)
    new = tmp_path / "torch-99.0.dist-info"
    new.mkdir()
    (new / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 99.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    versions.library_versions.cache_clear()
    try:
        assert steps.library_versions("components.training.classification")["torch"] == "99.0"
        assert step.key(arguments) != before
        assert "torch" not in versions.library_versions("components.data.split.labelled")
    finally:
        versions.library_versions.cache_clear()
