"""Estimates against what training then takes."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

from components.models.config import SIZES, LoraConfig, ModelConfig
from components.models.fast.unpadded import MULTIPLE
from components.models.weights import READ_AT_ONCE
from components.training.batching import Examples
from components.training.classification import build_classifier
from components.training.config import InstructionTrainConfig, TrainConfig
from components.training.instruction import build_gpt
from components.training.objectives import Objective
from components.training.objectives.classification import Classification
from components.training.objectives.instruction import Entries, Instruction
from components.training.planning.estimate import LiveTensors, Memory, count_parameters, estimate_memory, rehearse
from components.training.planning.trial import Besides, Trial, plan, time_training

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")

SET_UP = """
import json, sys, tempfile
from pathlib import Path
import torch
from components.models.config import LoraConfig, ModelConfig
from components.models.tokenizer import end_of_text, load_tokenizer
from components.prompts import PromptConfig
from components.core.records import NoLogger
from components.training import classification, instruction
from components.training.config import InstructionTrainConfig, TrainConfig
from components.training.fine_tuning import Start
from components.training.fine_tuning import Splits
from components.training.planning.estimate import estimate_memory, process_bytes
from components.training.objectives.classification import Classification
from components.training.objectives.instruction import Instruction
from components.training.planning.trial import Trial

folder, spec, cpu = Path(sys.argv[1]), json.loads(sys.argv[2]), torch.device("cpu")
vocabulary = spec.get("vocabulary", "sample://vocabulary.tiktoken")
encoding = load_tokenizer(vocabulary)
words, end = encoding.n_vocab, end_of_text(encoding)
paths = folder / "train.parquet", folder / "validation.parquet"
model = ModelConfig(size=spec["size"], weights="random", vocabulary=vocabulary)
options = {"device": "cpu", "precision": "fp32", "eval_batches": 1} | spec["train"]
out = Path(tempfile.mkdtemp(dir=folder))

def estimate(outline, objective):
    process = process_bytes()
    print(estimate_memory(Trial(outline, objective), process).total)

def show_peak():
    # Not ru_maxrss, which a process takes over from the one that started it.
    lines = Path("/proc/self/status").read_text().splitlines()
    print(next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")))
"""
CLASSIFIER = """
train, labels = TrainConfig(**options), ["ham", "spam"]
"""
CLASSIFIER_ESTIMATED = """
rows = classification.prepare(*paths, labels, encoding, train, model.shape.context)
estimate(
    lambda: classification.build_classifier(model, LoraConfig(), train, 2, words, outline=True),
    lambda network: Classification(network, rows.train, rows.validation, train, cpu, "fp32", end, rows.length),
)
"""
CLASSIFIER_TRAINED = """
classes = classification.Classes(labels)
classification.fine_tune(Splits(*paths), classes, Start(model), train, NoLogger(), out)
show_peak()
"""
LANGUAGE_MODEL = """
train, prompt = InstructionTrainConfig(**options), PromptConfig(template="alpaca")
"""
LANGUAGE_MODEL_ESTIMATED = """
data = instruction.prepare(*paths, prompt.resolved(encoding), encoding, train, model.shape.context)
estimate(
    lambda: instruction.build_gpt(model, LoraConfig(), train, words, outline=True),
    lambda network: Instruction(network, data.train, data.validation, train, cpu, "fp32", end),
)
"""
LANGUAGE_MODEL_TRAINED = """
instruction.fine_tune(Splits(*paths), prompt, Start(model), train, NoLogger(), lambda *_: "", out)
show_peak()
"""


def said_by(code: str, folder: Path, spec: dict[str, Any]) -> int:
    """Run code in a process of its own, whose memory it is about; return the number that it prints."""
    command = [sys.executable, "-c", SET_UP + code, str(folder), json.dumps(spec)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.splitlines()[-1])


def shape(layers: int, width: int, heads: int = 4, context: int = 256) -> dict[str, int]:
    return {"layers": layers, "heads": heads, "width": width, "context": context}


def vocabulary(path: Path, words: int) -> str:
    """Write a vocabulary of so many tokens, of one to three bytes."""
    import base64

    longer = (bytes([first, second]) for first in range(256) for second in range(256))
    tokens = [*(bytes([byte]) for byte in range(256)), *(next(longer) for _ in range(words - 257))]
    lines = (f"{base64.b64encode(token).decode()} {rank}" for rank, token in enumerate(tokens))
    path.write_text("\n".join(lines))
    return str(path)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is counted differently elsewhere")
@pytest.mark.parametrize(
    ("size", "train"),
    [
        (shape(4, 256), {"trainable": "all", "batch_size": 64, "padding": 128, "max_steps": 2}),
        (shape(8, 384), {"trainable": "all", "batch_size": 8, "padding": 64, "max_steps": 4}),
        (shape(8, 384), {"trainable": "last_block", "batch_size": 64, "padding": 64, "max_steps": 4}),
        (shape(6, 256), {"trainable": "lora", "batch_size": 16, "padding": 256, "max_steps": 2}),
    ],
)
def test_memory_of_a_classifier_is_estimated_within_25_percent(
    tmp_path: Path, size: dict[str, int], train: dict[str, Any]
) -> None:
    for name in ("train", "validation"):
        texts = [f"{'win a prize' if row % 2 else 'see you soon'} {row} " * 60 for row in range(150)]
        labels = ["ham" if row % 2 else "spam" for row in range(150)]
        pd.DataFrame({"text": texts, "label": labels}).to_parquet(tmp_path / f"{name}.parquet")
    spec = {"size": size, "train": {**train, "max_length": train["padding"]}}
    estimated = said_by(CLASSIFIER + CLASSIFIER_ESTIMATED, tmp_path, spec)
    taken = said_by(CLASSIFIER + CLASSIFIER_TRAINED, tmp_path, spec)
    assert 0.8 < estimated / taken < 1.25


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is counted differently elsewhere")
@pytest.mark.parametrize(
    ("size", "words", "train"),
    [
        (shape(6, 256), 20_000, {"batch_size": 16}),
        (shape(6, 256), 20_000, {"batch_size": 8, "accumulate": 2, "mask_prompt": False}),
        (shape(6, 256), 1_500, {"batch_size": 16, "trainable": "lora"}),
        (shape(6, 256), 20_000, {"batch_size": 16, "trainable": "lora", "gradient_checkpointing": True}),
        (shape(6, 256), 20_000, {"batch_size": 16, "gradient_checkpointing": True}),
        (shape(6, 256, context=512), 20_000, {"batch_size": 8, "batching": "packed"}),
        ("124M", 50_257, {"batch_size": 2, "max_steps": 3}),
    ],
)
def test_memory_of_a_language_model_is_estimated_within_25_percent(
    tmp_path: Path, size: Any, words: int, train: dict[str, Any]
) -> None:
    for name in ("train", "validation"):
        rows = range(64)
        table = {
            "row": rows,
            "instruction": ["win a prize"] * 64,
            "input": [""] * 64,
            "output": ["call me on sunday " * 5] * 64,
        }
        pd.DataFrame(table).to_parquet(tmp_path / f"{name}.parquet")
    known = vocabulary(tmp_path / "vocabulary.tiktoken", words)
    spec = {"size": size, "vocabulary": known, "train": {"max_steps": 4, "eval_every": 100, **train}}
    estimated = said_by(LANGUAGE_MODEL + LANGUAGE_MODEL_ESTIMATED, tmp_path, spec)
    taken = said_by(LANGUAGE_MODEL + LANGUAGE_MODEL_TRAINED, tmp_path, spec)
    assert 0.8 < estimated / taken < 1.25


SMOLLM2 = {
    "layers": 30, "heads": 9, "kv_heads": 3, "head_width": 64, "width": 576, "mlp_width": 1536, "context": 8192,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is counted differently elsewhere")
@pytest.mark.parametrize("train", [{}, {"trainable": "lora"}])
def test_memory_of_a_llama_is_estimated_within_10_percent(tmp_path: Path, train: dict[str, Any]) -> None:
    for name in ("train", "validation"):
        table = {"row": range(32), "instruction": ["win a prize"] * 32, "input": [""] * 32, "output": ["call me"] * 32}
        pd.DataFrame(table).to_parquet(tmp_path / f"{name}.parquet")
    known = vocabulary(tmp_path / "vocabulary.tiktoken", 49_152)
    spec = {
        "size": SMOLLM2,
        "vocabulary": known,
        "train": {"max_steps": 2, "eval_every": 100, "batch_size": 8, **train},
    }
    estimated = said_by(LANGUAGE_MODEL + LANGUAGE_MODEL_ESTIMATED, tmp_path, spec)
    taken = said_by(LANGUAGE_MODEL + LANGUAGE_MODEL_TRAINED, tmp_path, spec)
    assert estimated == pytest.approx(taken, rel=0.1)


@pytest.mark.ci
def test_an_adapter_alone_needs_no_copy_of_the_weights_when_it_is_saved() -> None:
    model, config = ModelConfig(size=shape(2, 512), weights="random"), InstructionTrainConfig(trainable="lora")
    whole = writer(model, config, 50_257)
    found = [estimate_memory(trial, process=0) for trial in (whole, replace(whole, writes_weights=False))]
    assert [memory.peak for memory in found] == ["saving", "training"]
    assert found[1].total < found[0].total


def texts(config: TrainConfig, count: int = 40) -> Callable[[Any], Objective]:
    """What a classifier learns from texts of different lengths."""
    rows = Examples.of([[5] * (3 + row % 9) for row in range(count)], [row % 2 for row in range(count)])
    return lambda network: Classification(network, rows, rows, config, CPU, "fp32", 0, None)


def entries(config: InstructionTrainConfig, count: int = 40, precision: str = "fp32") -> Callable[[Any], Objective]:
    """What a language model learns from entries of different lengths."""
    rows = Entries.of([([5] * (4 + row % 7), [6] * (2 + row % 5)) for row in range(count)])
    return lambda network: Instruction(network, rows, rows, config, CPU, precision, 0)


def held_by(network: nn.Module, objective: Objective, rows: list[int]) -> int:
    """The most bytes that tensors of a real step take."""
    network.train()
    batch = objective.batch("train", rows)
    with LiveTensors() as live:
        (objective.measure(batch).loss / 2).backward()  # type: ignore[no-untyped-call]
    return live.peak


@pytest.mark.ci
@pytest.mark.parametrize("trainable", ["all", "last_block", "last_two_blocks", "last_layer", "lora"])
def test_what_is_rehearsed_of_a_classifier_is_what_a_step_takes(trainable: str) -> None:
    model = ModelConfig(size=shape(3, 64), weights="random", dropout=0.1)
    config = TrainConfig(trainable=trainable, batch_size=7)
    recipe = (model, LoraConfig(), config, 2, 90)
    learnt = texts(config)
    network = build_classifier(*recipe)
    trial = Trial(partial(build_classifier, *recipe, outline=True), learnt)
    rows = list(range(7))
    assert rehearse(trial, "train", [rows]).peak == pytest.approx(held_by(network, learnt(network), rows), rel=0.001)


@pytest.mark.ci
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"precision": "bf16"},
        {"trainable": "lora"},
        {"trainable": "last_block", "mask_prompt": False},
        {"trainable": "lora", "gradient_checkpointing": True},
        {"batching": "packed"},
        {"batching": "packed", "gradient_checkpointing": True, "precision": "bf16"},
    ],
    ids=str,
)
def test_what_is_rehearsed_of_a_language_model_is_what_a_step_takes(options: dict[str, Any]) -> None:
    model = ModelConfig(size=shape(3, 64), weights="random", dropout=0.1, tie_embeddings=len(options) != 1)
    config = InstructionTrainConfig(batch_size=7, **options)
    recipe = (model, LoraConfig(), config, 900)
    learnt = entries(config, precision=options.get("precision", "fp32"))
    network = build_gpt(*recipe)
    trial = Trial(partial(build_gpt, *recipe, outline=True), learnt)
    rows = list(range(7))
    held = rehearse(trial, "train", [rows])
    assert held.peak == pytest.approx(held_by(network, learnt(network), rows), rel=0.001)
    assert held.logits >= 3 * 4 * 900 * (4 if options.get("mask_prompt", True) else 11)


def test_only_what_lives_is_counted() -> None:
    with LiveTensors() as live:
        kept = torch.zeros(1000)
        for _ in range(3):
            gone = torch.ones(500)
            gone += 1
        view = kept[:10]
        del gone
    assert (live.now, live.peak, len(view)) == (4000, 8000, 10)


def writer(model: ModelConfig, config: InstructionTrainConfig, words: int) -> Trial:
    """A training of a language model that is not run."""
    outline = partial(build_gpt, model, LoraConfig(), config, words, outline=True)
    return Trial(outline, entries(config), model.weights != "random")


def learning(layers: int, tie: bool = False, **options: Any) -> int:
    model = ModelConfig(size=shape(layers, 64), weights="random", tie_embeddings=tie)
    config = InstructionTrainConfig(**options)
    return rehearse(writer(model, config, 50), "train", [list(range(8))]).activations


@pytest.mark.ci
def test_what_is_not_needed_for_gradients_is_not_kept() -> None:
    assert learning(8, trainable="last_block") == learning(3, trainable="last_block")
    # A head that is the embedding has a gradient at the very bottom.
    assert learning(8, tie=True, trainable="last_block") > 2 * learning(3, tie=True, trainable="last_block")
    assert learning(8, trainable="all") > 2 * learning(3, trainable="all")
    assert learning(8, gradient_checkpointing=True) < 0.4 * learning(8)


@pytest.mark.ci
def test_logits_are_those_of_the_tokens_that_are_learnt() -> None:
    """V words at 4 bytes: as they come, as probabilities, and their gradient; as many tokens as a multiple says."""
    config = InstructionTrainConfig(batch_size=4)
    trial = writer(ModelConfig(size=shape(1, 16), weights="random"), config, 3000)
    targets = sum(2 + row % 5 + 1 for row in range(4))
    rounded = targets + -targets % MULTIPLE
    assert rehearse(trial, "train", [[0, 1, 2, 3]]).logits == 3 * rounded * 3000 * 4


@pytest.mark.ci
def test_gradients_of_the_batches_before_are_held_as_well() -> None:
    config = InstructionTrainConfig(batch_size=4, accumulate=2)
    trial = writer(ModelConfig(size=shape(2, 64), weights="random", tie_embeddings=False), config, 3000)
    rows = [0, 1, 2, 3]
    assert rehearse(trial, "train", [rows, rows]).peak > rehearse(trial, "train", [rows]).peak + 500_000


def test_parameters_by_part_are_those_of_gpt2_small() -> None:
    def parts(network: nn.Module) -> dict[str, tuple[int, int]]:
        return {part.name: (part.parameters, part.trained) for part in count_parameters(network)}

    model, lora = ModelConfig(), LoraConfig(rank=8)
    with torch.device("meta"):
        classifier = build_classifier(model, lora, TrainConfig(), 2, 50_257, outline=True)
        adapted = build_classifier(model, lora, TrainConfig(trainable="lora"), 2, 50_257, outline=True)
        untied = model.model_copy(update={"tie_embeddings": False})
        gpt = build_gpt(untied, lora, InstructionTrainConfig(), 50_257, outline=True)
        tied = build_gpt(model, lora, InstructionTrainConfig(trainable="last_block"), 50_257, outline=True)
    assert parts(classifier) == {
        "embeddings": (39_383_808, 0),
        "blocks": (85_054_464, 7_087_872),
        "final norm": (1_536, 1_536),
        "head": (1_538, 1_538),
    }
    # Each adapter has rank x (in + out) numbers: 3072, 1536, 3840 and 3840 in and out.
    assert parts(adapted)["adapters"] == (12 * 8 * 12_288, 12 * 8 * 12_288)
    assert parts(gpt)["head"] == (50_257 * 768, 50_257 * 768)
    assert parts(tied)["embeddings"] == (39_383_808, 50_257 * 768)
    assert "head" not in parts(tied)


def remembered(model: ModelConfig, config: InstructionTrainConfig) -> Memory:
    return estimate_memory(writer(model, config, 50_257), process=0)


@pytest.mark.slow
def test_the_largest_network_is_estimated_without_being_made() -> None:
    model = ModelConfig(size="1558M", weights="openai-community/gpt2-xl")
    memory = remembered(model, InstructionTrainConfig(trainable="lora", keep="last"))
    assert memory.weights == pytest.approx(4 * 1_557_611_200, rel=0.02)
    assert memory.optimiser == 2 * memory.gradients < 2 * memory.weights / SIZES["1558M"].layers
    # Of the file that is read there is never the whole in memory.
    assert memory.total < 1.15 * memory.weights


@pytest.mark.ci
def test_a_sample_is_decoded_with_a_copy_of_the_weights() -> None:
    config = InstructionTrainConfig(trainable="lora", batch_size=1, keep="last")
    plain = replace(writer(ModelConfig(size=shape(6, 512), weights="random"), config, 3000), writes_weights=False)
    without = estimate_memory(plain, process=0)
    memory = estimate_memory(replace(plain, converted=without.weights), process=0)
    assert (without.peak, memory.peak) == ("training", "sampling")
    assert memory.total > 2 * memory.weights + memory.optimiser


@pytest.mark.ci
def test_a_training_of_little_takes_most_while_its_weights_are_read() -> None:
    config = InstructionTrainConfig(trainable="lora", batch_size=1, keep="last")
    read = writer(ModelConfig(size=shape(6, 512), weights="a/folder"), config, 3000)
    memory = estimate_memory(replace(read, writes_weights=False), process=0)
    assert memory.peak == "loading"
    assert memory.copies == READ_AT_ONCE + 4 * 3000 * 512


@pytest.mark.ci
def test_the_parts_that_are_held_are_all_of_it() -> None:
    model = ModelConfig(size=shape(4, 64), weights="random")
    for options in ({}, {"trainable": "lora"}, {"keep": "last", "gradient_checkpointing": True}):
        memory = remembered(model, InstructionTrainConfig(batch_size=8, **options))
        always = memory.data + memory.weights + memory.rest
        assert memory.total == always + sum(getattr(memory, part) for part in memory.held)


def test_the_plan_is_what_training_does() -> None:
    config = TrainConfig(batch_size=4, accumulate=2, epochs=3, eval_every=5)
    assert vars(plan(config, rows=50)) == {"steps_per_epoch": 6, "steps": 18, "evaluations": 5}
    assert plan(config.model_copy(update={"max_steps": 10}), rows=50).evaluations == 3


@pytest.mark.ci
@pytest.mark.parametrize("kind", ["classifier", "language model"])
def test_time_is_measured_without_touching_the_callers_random_state(kind: str) -> None:
    model = ModelConfig(size=shape(2, 32), weights="random", dropout=0.1)
    common = {"trainable": "all", "batch_size": 4, "accumulate": 2, "epochs": 2}
    network: nn.Module
    if kind == "classifier":
        config = TrainConfig(**common)
        network, learnt = build_classifier(model, LoraConfig(), config, 2, 50), texts(config)
    else:
        config = InstructionTrainConfig(**common)
        network, learnt = build_gpt(model, LoraConfig(), config, 50), entries(config)
    state = torch.get_rng_state()
    trial = Trial(lambda: network, learnt)
    besides = Besides(sample=1.0, frozen=3.0, later={"scoring": 2.0, "answering": 4.0})
    timing, _ = time_training(network, trial, lambda token: besides if token > 0 else Besides())
    assert torch.equal(torch.get_rng_state(), state)
    assert timing.training == pytest.approx(trial.plan.steps * timing.step)
    assert timing.evaluation > 1
    assert (timing.frozen, timing.testing) == (3.0, 6.0)
    assert timing.total == pytest.approx(timing.frozen + timing.training + timing.evaluating + timing.testing)
    assert min(vars(timing).values()) > 0
