"""What a recipe will cost before it is run: parameters, steps, memory; `planning.timing` measures time."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from components.models.architecture import transformer_of
from components.models.config import ModelConfig
from components.models.lora import is_adapter
from components.training.config import Recipe
from components.training.objectives import SPLITS
from components.training.planning.probe import rehearse
from components.training.planning.timing import Timing
from components.training.planning.trial import Plan, Trial

FLOAT = 4
"""Bytes of a weight, a gradient, or a moment: all are kept in fp32, but for frozen weights of a network in bf16."""
MOMENTS = 2
"""What AdamW remembers of each trained weight."""

Phase = Literal["training", "saving", "loading"]


@dataclass(frozen=True)
class Part:
    """A part of the network: its parameters, and how many of them train."""

    name: str
    parameters: int
    trained: int


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak of a training, which comes in the phase `peak`.

    On the CPU that of the process: `process` (interpreter and libraries), `data` (all tokens), `weights`, and of
    `gradients`, the `optimiser`'s moments, `activations`, `logits` (of a language model) and `copies` of weights that
    are written or read, those that are `held` then. On another device it is what training allocates there. `rest` is
    what gaps between tensors add, less what is not held at the very same time.
    """

    process: int
    data: int
    weights: int
    gradients: int
    optimiser: int
    activations: int
    logits: int
    copies: int
    rest: int
    held: list[str]
    peak: Phase
    total: int
    available: int


@dataclass
class Cost:
    """What a run would take; `timing` is None where it would not fit into memory."""

    device: str
    precision: str
    parameters: list[Part]
    plan: Plan
    memory: Memory
    timing: Timing | None = None


def count_parameters(network: nn.Module) -> list[Part]:
    """Return the parts of a network (`components.training.outline`) in their order."""
    names = transformer_of(network).names
    parts = {f"{names.blocks}.": "blocks", f"{names.final_norm}.": "final norm", "head.": "head", "lm_head.": "head"}
    counts = {name: [0, 0] for name in ("embeddings", "blocks", "adapters", "final norm", "head")}
    for name, parameter in network.named_parameters():
        inside = name.removeprefix("transformer.")
        part = next((part for start, part in parts.items() if inside.startswith(start)), "embeddings")
        count = counts["adapters" if is_adapter(name) else part]
        count[0] += parameter.numel()
        count[1] += parameter.numel() * parameter.requires_grad
    return [Part(name, *count) for name, count in counts.items() if count[0]]


def estimate_memory(trial: Trial, process: int) -> Memory:
    """Return what a run takes at its peak, in a process that has `process` bytes before (`process_bytes`).

    A step is rehearsed on the batch that takes most.
    """
    on_cpu, network, (split, rows) = trial.device.type == "cpu", trial.network, trial.heaviest()
    held = rehearse(trial, split, [rows] * min(trial.config.accumulate, 2))
    trained = _bytes(parameter for parameter in network.parameters() if parameter.requires_grad)
    state = {"gradients": trained, "optimiser": MOMENTS * trained}
    parts: dict[Phase, dict[str, int]] = {
        "training": state | {"activations": held.activations, "logits": held.logits},
        "saving": state | {"copies": _saved(network, trial.config) if on_cpu else 0},
        "loading": {"copies": _loaded(network, trial.model) if on_cpu else 0},
    }
    gaps = held.process - held.peak if on_cpu else 0  # stay in the heap once they are there
    totals: dict[Phase, int] = {
        "training": MOMENTS * trained + held.peak + gaps,
        "saving": sum(parts["saving"].values()) + gaps,
        "loading": sum(parts["loading"].values()),
    }
    peak = max(totals, key=lambda phase: totals[phase])
    data = sum(trial.objective.rows(split).ids.nbytes for split in SPLITS)
    host = {"process": process, "data": data} if on_cpu else {"process": 0, "data": 0}
    weights = _bytes(network.parameters())
    return Memory(
        **host,
        weights=weights,
        **({"copies": 0} | parts["training"] | parts[peak]),
        rest=totals[peak] - sum(parts[peak].values()),
        held=list(parts[peak]),
        peak=peak,
        total=sum(host.values()) + weights + totals[peak],
        available=_available(trial.device) + (process if on_cpu else 0),
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


def _saved(network: nn.Module, config: Recipe) -> int:
    """Return the bytes of the weights that are made anew while the model is saved, or read back if others were best."""
    every = list(network.parameters())
    trained = _bytes(parameter for parameter in every if parameter.requires_grad)
    written = FLOAT * max(parameter.numel() for parameter in every)
    begun = FLOAT * sum(parameter.numel() for parameter in every) if _rounded(network) else 0  # made once more
    return max(begun + written, trained if config.keep == "best" else 0)


def _loaded(network: nn.Module, model: ModelConfig) -> int:
    """Return the bytes of the weights as they are in files, and of what is rounded once they are there."""
    stored = FLOAT * sum(each.numel() for name, each in network.named_parameters() if not is_adapter(name))
    return _rounded(network) + (stored if model.weights != "random" else 0)


def _rounded(network: nn.Module) -> int:
    """Return how many bytes are saved by weights that are kept in bf16 (`components.training.frozen_weights`)."""
    return sum((FLOAT - parameter.element_size()) * parameter.numel() for parameter in network.parameters())


def _bytes(parameters: Iterable[Tensor]) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in parameters)


def _available(device: torch.device) -> int:
    """Return the bytes that are free for a run."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    return int(psutil.virtual_memory().available)
