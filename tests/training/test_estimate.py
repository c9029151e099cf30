"""Estimates against what training then takes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from components.model.config import SIZES, LoraConfig, ModelConfig
from components.training.batching import Examples
from components.training.config import TrainConfig
from components.training.estimate import count_parameters, estimate_memory, plan
from components.training.probe import LiveTensors, activation_bytes
from components.training.timing import Stopwatch

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
CLOSE = 0.3

SET_UP = """
import json, sys, tempfile
from pathlib import Path
import pandas as pd, pyarrow.parquet
import torch
from components.model.config import LoraConfig, ModelConfig
from components.model.tokenizer import load_tokenizer
from components.records import NoLogger
from components.training.classification import fine_tune
from components.training.config import TrainConfig
from components.training.estimate import estimate_memory, process_bytes

folder, spec = Path(sys.argv[1]), json.loads(sys.argv[2])
words = load_tokenizer("sample://vocabulary.tiktoken").n_vocab
model = ModelConfig(size=spec["size"], weights="random", vocabulary="sample://vocabulary.tiktoken")
train = TrainConfig(device="cpu", precision="fp32", eval_batches=1, **spec["train"])
"""
ESTIMATE = """
process = process_bytes()
print(estimate_memory(model, LoraConfig(), train, 2, words, train.padding, torch.device("cpu"), "fp32", process).total)
"""
TRAIN = """
fine_tune(
    folder / "train.parquet", folder / "validation.parquet", ["ham", "spam"], model, train, None, None, NoLogger(),
    Path(tempfile.mkdtemp(dir=folder)),
)
# Not ru_maxrss, which a process takes over from the one that started it.
lines = Path("/proc/self/status").read_text().splitlines()
print(next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")))
"""


def said_by(code: str, folder: Path, spec: dict[str, Any]) -> int:
    """Run code in a process of its own, whose memory it is about; return the number that it prints."""
    command = [sys.executable, "-c", SET_UP + code, str(folder), json.dumps(spec)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def shape(layers: int, width: int, heads: int = 4) -> dict[str, int]:
    return {"layers": layers, "heads": heads, "width": width, "context": 256}


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
def test_memory_is_estimated_within_30_percent(tmp_path: Path, size: dict[str, int], train: dict[str, Any]) -> None:
    for name in ("train", "validation"):
        texts = [f"{'win a prize' if row % 2 else 'see you soon'} {row} " * 60 for row in range(150)]
        labels = ["ham" if row % 2 else "spam" for row in range(150)]
        pd.DataFrame({"text": texts, "label": labels}).to_parquet(tmp_path / f"{name}.parquet")
    spec = {"size": size, "train": {**train, "max_length": train["padding"]}}
    estimated, taken = said_by(ESTIMATE, tmp_path, spec), said_by(TRAIN, tmp_path, spec)
    assert estimated / taken == pytest.approx(1, abs=CLOSE)


@pytest.mark.parametrize("trainable", ["all", "last_block", "last_two_blocks", "last_layer", "lora"])
def test_what_the_small_copy_says_of_a_larger_network_is_what_that_takes(trainable: str) -> None:
    model = ModelConfig(size=shape(5, 64), weights="random")
    config = TrainConfig(trainable=trainable, batch_size=7)
    from components.training.probe import _measure

    kept, passing = _measure(model, LoraConfig(), config, 2, 5, 7, 50, CPU, "fp32")
    estimated = activation_bytes(model, LoraConfig(), config, 2, 50, CPU, "fp32")
    assert estimated == pytest.approx(kept + passing, rel=0.02)


def test_only_what_lives_is_counted() -> None:
    with LiveTensors() as live:
        kept = torch.zeros(1000)
        for _ in range(3):
            gone = torch.ones(500)
            gone += 1
        view = kept[:10]
        del gone
    assert (live.bytes, live.peak, len(view)) == (4000, 8000, 10)


def test_frozen_blocks_keep_nothing() -> None:
    def activations(layers: int, trainable: str) -> int:
        model = ModelConfig(size=shape(layers, 64), weights="random")
        config = TrainConfig(trainable=trainable)
        return activation_bytes(model, LoraConfig(), config, 2, 64, CPU, "fp32")

    assert activations(12, "last_block") == activations(4, "last_block")
    assert activations(12, "all") > 2 * activations(4, "all")


def test_parameters_by_part_are_those_of_gpt2_small() -> None:
    def parts(trainable: str) -> dict[str, tuple[int, int]]:
        config = TrainConfig(trainable=trainable)
        counted = count_parameters(ModelConfig(), LoraConfig(rank=8), config, 2, 50_257)
        return {part.name: (part.parameters, part.trained) for part in counted}

    assert parts("last_block") == {
        "embeddings": (39_383_808, 0),
        "blocks": (85_054_464, 7_087_872),
        "final norm": (1_536, 1_536),
        "head": (1_538, 1_538),
    }
    # Each adapter has rank x (in + out) numbers: 3072, 1536, 3840 and 3840 in and out.
    assert parts("lora")["adapters"] == (12 * 8 * 12_288, 12 * 8 * 12_288)


def test_the_largest_network_is_estimated_without_being_made() -> None:
    model = ModelConfig(size="1558M", weights="openai-community/gpt2-xl")
    memory = estimate_memory(model, LoraConfig(), TrainConfig(batch_size=1), 2, 50_257, 16, CPU, "fp32", process=0)
    assert memory.weights == pytest.approx(4 * 1_557_611_200, rel=0.001)
    assert memory.gradients == memory.optimiser / 2 < memory.weights / SIZES["1558M"].layers
    assert memory.peak == "loading"
    assert memory.total == 2 * memory.weights


def test_the_plan_is_what_training_does() -> None:
    config = TrainConfig(batch_size=4, accumulate=2, epochs=3, eval_every=5)
    assert vars(plan(config, rows=50)) == {"steps_per_epoch": 6, "steps": 18, "evaluations": 5}
    assert plan(config.model_copy(update={"max_steps": 10}), rows=50).evaluations == 3


def test_time_is_measured_without_touching_the_callers_random_state() -> None:
    from components.training.classification import build_classifier

    model = ModelConfig(size=shape(2, 32), weights="random", dropout=0.1)
    config = TrainConfig(trainable="all", batch_size=4, accumulate=2, epochs=2)
    rows = Examples.of([[5] * (3 + row % 9) for row in range(40)], [row % 2 for row in range(40)])
    network = build_classifier(model, LoraConfig(), config, 2, 50, None)
    state = torch.get_rng_state()
    times = plan(config, len(rows))
    timing = Stopwatch(network, rows, config, None, 0, CPU, "fp32").time(
        times, {"train": rows.lengths, "validation": rows.lengths, "test": np.array([5, 9])}
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert timing.training == pytest.approx(times.steps * timing.step)
    assert timing.total == pytest.approx(timing.training + timing.evaluating + timing.testing)
    assert min(vars(timing).values()) > 0
