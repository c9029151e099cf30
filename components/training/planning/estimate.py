"""What a recipe will cost before it is run: parameters, steps, memory; `planning.trial` measures time.

How much memory a step takes is found out by a rehearsal on tensors that have shapes and no content. Nothing is computed
and no memory is taken, so it is the whole network and a whole batch that is rehearsed.
"""

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from components.models.architecture import transformer_of
from components.models.lora import is_adapter
from components.models.weights import READ_AT_ONCE
from components.training.objectives import SPLITS, Split
from components.training.planning.trial import Plan, Timing, Trial

FLOAT = 4
"""Bytes of a weight, a gradient, or a moment: all are kept in fp32, but for frozen weights of a network in bf16."""
MOMENTS = 2
"""What AdamW remembers of each trained weight."""
ARENA = 32 << 20
"""Bytes from which on the C library (glibc) takes a block from the system and gives it back; smaller ones come from its
heap, which keeps what it once had, and leave gaps in it that larger ones cannot use."""
GAPS, CHURN, UNRECORDED = 0.25, 0.35, 0.15
"""Share by which the heap is larger than what is in it, and share of what comes and goes in a forward pass by which it
grows besides, less where autograd records nothing; as measured (`tests/training/test_estimate.py`)."""

Phase = Literal["training", "sampling", "saving", "loading"]


@dataclass(frozen=True)
class Part:
    """A part of the network: its parameters, and how many of them train."""

    name: str
    parameters: int
    trained: int


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak of a training, which comes in the phase `peak`.

    On the CPU that of the process: `process` (interpreter and libraries), `data` (all tokens, and what steps before
    have made of them), `weights`, and of `gradients`, the `optimiser`'s moments, `activations`, `logits` (of a language
    model) and `copies` of weights that are written, read, or made to decode a sample, those that are `held` then. On
    another device it is what training allocates there. `rest` is what gaps between tensors add, less what is not held
    at the very same time.
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
    """Return the parts of a network in their order."""
    names = transformer_of(network).names
    parts = {
        f"{names.blocks}.": "blocks",
        f"{names.final_norm}.": "final norm",
        "pooler.": "head",
        "head.": "head",
        "lm_head.": "head",
    }
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
    import psutil

    objective, (split, rows) = trial.objective, trial.heaviest()
    step, on_cpu = rehearse(trial, split, [rows] * min(objective.config.accumulate, 2)), objective.device.type == "cpu"
    every = list(objective.model.parameters())
    weights, trained = sum(each.nbytes for each in every), sum(each.nbytes for each in every if each.requires_grad)
    state = {"gradients": trained, "optimiser": MOMENTS * trained}
    saved, loaded = _copies(trial) if on_cpu else (0, 0)
    parts: dict[Phase, dict[str, int]] = {
        "training": state | {"activations": step.activations, "logits": step.logits},
        "sampling": state | {"copies": trial.converted},
        "saving": state | {"copies": saved},
        "loading": {"copies": loaded},
    }
    gaps = step.gaps if on_cpu else 0  # stay in the heap once they are there
    totals: dict[Phase, int] = {
        "training": MOMENTS * trained + step.peak + gaps,
        "sampling": sum(parts["sampling"].values()) + gaps,
        "saving": sum(parts["saving"].values()) + gaps,
        "loading": loaded,
    }
    peak = max(totals, key=lambda phase: totals[phase])
    data = sum(objective.rows(split).ids.nbytes for split in SPLITS) + trial.kept
    process, data = (process, data) if on_cpu else (0, 0)
    on_gpu = objective.device.type == "cuda"
    free = torch.cuda.mem_get_info(objective.device)[0] if on_gpu else psutil.virtual_memory().available
    return Memory(
        process=process,
        data=data,
        weights=weights,
        **({"copies": 0} | parts["training"] | parts[peak]),
        rest=totals[peak] - sum(parts[peak].values()),
        held=list(parts[peak]),
        peak=peak,
        total=process + data + weights + totals[peak],
        available=free + process,
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


def _copies(trial: Trial) -> tuple[int, int]:
    """Return the bytes of weights that are made anew while the model is saved, and while the starting ones are read.

    When it is saved each is written in fp32, those kept in bf16 (`components.training.frozen_weights`) are made once
    more, and the trained ones are read back if others were best. When they are read they are in fp32 at first, and of
    the file there is as much as is read before it is opened anew.
    """
    network = trial.objective.model
    every = list(network.parameters())
    whole = FLOAT * sum(each.numel() for each in every)
    trained = sum(each.nbytes for each in every if each.requires_grad)
    rounded = whole - sum(each.nbytes for each in every)
    largest = FLOAT * max(each.numel() for each in every)
    written = largest + (whole if rounded else 0) if trial.writes_weights else 0
    stored = FLOAT * sum(each.numel() for name, each in network.named_parameters() if not is_adapter(name))
    loaded = rounded + (min(stored, READ_AT_ONCE + largest) if trial.reads_weights else 0)
    return max(written, trained if trial.objective.config.keep == "best" else 0), loaded


@dataclass(frozen=True)
class Held:
    """Bytes that a step holds besides weights and optimiser.

    `activations` are kept for the backward pass; `logits` are a language model's in all their forms. `peak` is the most
    that lives at the same time, gradients included; the process grows by that and by `gaps` in its heap.
    """

    activations: int
    logits: int
    peak: int
    gaps: int


def rehearse(trial: Trial, split: Split, batches: Sequence[list[int]]) -> Held:
    """Return what is held at the peak of a step whose gradients come from these batches of a split."""
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    with fake, torch.device(trial.objective.device):
        network = trial.outline().train()
    objective, live = trial.learn(network), LiveTensors()
    kept = logits = churn = 0
    for batch in [objective.batch(split, rows) for rows in batches]:
        with fake, live:
            loss = objective.measure(batch).loss / 2
            # What is not kept for the backward pass has come and gone. What autograd notes of each operation stands
            # between, so that the gaps do not become one.
            kept, churn = kept or live.now, max(churn, round(live.worn - CHURN * live.held["heap"]))
            live.worn = CHURN * live.held["heap"]
            loss.backward()  # type: ignore[no-untyped-call]
        logits = FLOAT * len(getattr(batch, "learnt", ())) * transformer_of(network).vocab_size
    # Kept for the backward pass are the logits' probabilities; then come the gradients of both.
    grown = round((1 + GAPS) * live.most["heap"]) + live.most["mapped"] + churn
    return Held(kept - logits, 3 * logits, live.peak, grown - live.peak)


class LiveTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that are made while it is active, as long as each lives: `now`, and at most.

    `held` and `most` are the same for smaller ones (`heap`) and larger ones (`mapped`); `worn` is by how much what was
    ever taken may have worn the heap.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self.held, self.most = {"heap": 0, "mapped": 0}, {"heap": 0, "mapped": 0}
        self.worn = 0.0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and count what it made."""
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        before = {leaf.untyped_storage()._cdata for leaf in given}
        wear = CHURN if any(leaf.requires_grad for leaf in given) else UNRECORDED
        result = func(*args, **(kwargs or {}))
        for storage in (leaf.untyped_storage() for leaf in tree_leaves(result) if isinstance(leaf, Tensor)):
            address, count = storage._cdata, storage.nbytes()
            if address not in before | self._known:  # else a view, or written in place
                self._known.add(address)
                self._add(count)
                self.worn += count * wear if count < ARENA else 0.0
                weakref.finalize(storage, self._forget, address, count)
        return result

    def _forget(self, address: int, count: int) -> None:
        self._known.discard(address)
        self._add(-count)

    def _add(self, count: int) -> None:
        self.now += count
        self.peak = max(self.peak, self.now)
        kind = "heap" if abs(count) < ARENA else "mapped"
        self.held[kind] += count
        self.most[kind] = max(self.most[kind], self.held[kind])
