"""What a recipe will cost before it is run: parameters, steps, memory and time.

Memory is counted, and its activations probed on a small copy of the network; time is measured on a few real steps.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from components.model.config import LoraConfig, ModelConfig
from components.model.lora import is_adapter
from components.model.weights import TRANSPOSED
from components.training.batching import steps_per_epoch
from components.training.config import TrainConfig, rows_per_step
from components.training.loop import total_steps
from components.training.probe import activation_bytes, outline

FLOAT = 4
"""Bytes of a weight, a gradient, or a moment: all are kept in fp32."""
MOMENTS = 2
"""What AdamW remembers of each trained weight."""
ARENA = 32 << 20
"""Bytes from which on the C library (glibc) takes a block from the system and gives it back; smaller ones leave gaps
in its heap that larger ones cannot use."""
GAPS, GAPS_WITH_ADAPTERS = 0.25, 0.9
"""Share of the activations by which such gaps make a process larger, as measured; adapters make more short-lived
tensors between those that stay."""

Phase = Literal["training", "saving", "loading"]


@dataclass(frozen=True)
class Part:
    """A part of the network: its parameters, and how many of them train."""

    name: str
    parameters: int
    trained: int


@dataclass(frozen=True)
class Plan:
    """How often a recipe does what, unless it stops early."""

    steps_per_epoch: int
    steps: int
    evaluations: int


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak of a run.

    On the CPU that of the process: `total` is `process` (interpreter and libraries), `data` (all tokens) and `weights`,
    and on top what the phase `peak` holds: training `gradients`, `optimiser` and `activations`, saving the model
    `gradients` and `saving`, loading it `loading`. On another device `total` is what training allocates there.
    """

    process: int
    data: int
    weights: int
    gradients: int
    optimiser: int
    activations: int
    saving: int
    loading: int
    peak: Phase
    total: int
    available: int


def count_parameters(model: ModelConfig, lora: LoraConfig, config: TrainConfig, classes: int, words: int) -> list[Part]:
    """Return the parts of the network that a run would train, in their order; nothing of it is made."""
    with torch.device("meta"):
        named = list(outline(model, lora, config, classes, words).named_parameters())
    counts: dict[str, list[int]] = {name: [0, 0] for name in ("embeddings", "blocks", "adapters", "final norm", "head")}
    for name, parameter in named:
        count = counts[_part(name)]
        count[0] += parameter.numel()
        count[1] += parameter.numel() * parameter.requires_grad
    return [Part(name, *count) for name, count in counts.items() if count[0]]


def _part(name: str) -> str:
    if is_adapter(name):
        return "adapters"
    if name.startswith("transformer.h."):
        return "blocks"
    if name.startswith("transformer.ln_f."):
        return "final norm"
    return "head" if name.startswith("head.") else "embeddings"


def plan(config: TrainConfig, rows: int) -> Plan:
    """Return the steps and evaluations that `rows` training rows make: one evaluation at first, one at the end."""
    steps = total_steps(config, rows)
    return Plan(steps_per_epoch(rows, rows_per_step(config)), steps, 1 + math.ceil(steps / config.eval_every))


def estimate_memory(
    model: ModelConfig,
    lora: LoraConfig,
    config: TrainConfig,
    classes: int,
    words: int,
    length: int,
    device: torch.device,
    precision: str,
    process: int,
    data: int = 0,
) -> Memory:
    """Return what a run takes at its peak.

    Args:
        model: the network, and whether its weights are read from files.
        lora: its adapters, if `config.trainable` is `lora`.
        config: the recipe.
        classes: number of labels.
        words: size of the vocabulary.
        length: tokens of the longest row of a batch, with padding.
        device: where to train.
        precision: `fp32` or `bf16`.
        process: bytes that the process has before (`process_bytes`).
        data: bytes of the tokens that stay in memory.
    """
    with torch.device("meta"):
        named = list(outline(model, lora, config, classes, words).named_parameters())
    weights = _bytes([parameter for _, parameter in named])
    trained = _bytes([parameter for _, parameter in named if parameter.requires_grad])
    saving = _bytes([parameter for name, parameter in named if name.endswith(TRANSPOSED)])
    loading = 0 if model.weights == "random" else weights
    activations = activation_bytes(model, lora, config, classes, length, device, precision)
    if device.type == "cpu":
        activations = round(activations * (1 + _gaps(config, length * model.shape.width * FLOAT)))
    training = trained + MOMENTS * trained + activations
    phases: dict[Phase, int] = {"training": training, "saving": trained + saving, "loading": loading}
    peak: Phase = max(phases, key=phases.__getitem__) if device.type == "cpu" else "training"
    host = process + data if device.type == "cpu" else 0
    return Memory(
        process=process if host else 0,
        data=data if host else 0,
        weights=weights,
        gradients=trained,
        optimiser=MOMENTS * trained,
        activations=activations,
        saving=saving,
        loading=loading,
        peak=peak,
        total=host + weights + phases[peak],
        available=_available(device) + (process if device.type == "cpu" else 0),
    )


def process_bytes() -> int:
    """Return how large this process is with all that training loads, before there is a network.

    PyTorch loads a part of itself, some 90 MB, when the first optimiser makes its first step: one is made here.
    """
    import psutil

    layer = nn.Linear(2, 2)
    optimiser = torch.optim.AdamW(layer.parameters(), fused=True)
    layer(torch.zeros(1, 2)).sum().backward()
    optimiser.step()
    return int(psutil.Process().memory_info().rss)


def _gaps(config: TrainConfig, row: int) -> float:
    """Return the share by which gaps add to the activations; `row` is the size of the hidden states of one row."""
    share = GAPS_WITH_ADAPTERS if config.trainable == "lora" else GAPS
    hidden = row * config.batch_size
    if hidden >= ARENA:
        return 0.0
    return share / 2 if 4 * hidden >= ARENA else share  # an MLP's are four times as wide


def _bytes(parameters: Sequence[Tensor]) -> int:
    return FLOAT * sum(parameter.numel() for parameter in parameters)


def _available(device: torch.device) -> int:
    """Return the bytes that are free for a run."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    return int(psutil.virtual_memory().available)
