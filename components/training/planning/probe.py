"""How much memory a step of a training takes, found out by a rehearsal on tensors that have shapes and no content.

Nothing is computed and no memory is taken, so it is the whole network and a whole batch that is rehearsed.
"""

import weakref
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from components.training.objectives import Split
from components.training.objectives.instruction import IGNORED, TokenBatch
from components.training.planning.trial import Trial

Kind = Literal["gradients", "logits", "activations"]

ARENA = 32 << 20
"""Bytes from which on the C library (glibc) takes a block from the system and gives it back; smaller ones come from its
heap, which keeps what it once had, and leave gaps in it that larger ones cannot use."""
GAPS, CHURN, UNRECORDED = 0.25, 0.35, 0.15
"""Share by which the heap is larger than what is in it, and share of what comes and goes in a forward pass by which it
grows besides, less where autograd records nothing; as measured (`tests/training/test_estimate.py`)."""


@dataclass(frozen=True)
class Held:
    """Bytes that a step holds besides weights and optimiser, each at its most.

    `activations`, and a language model's `logits` in all their forms. `peak` is what lives at the same time, gradients
    included; `process` is by how much a process grows that computes it on the CPU.
    """

    activations: int
    logits: int
    peak: int
    process: int


def rehearse(trial: Trial, split: Split, batches: Sequence[list[int]]) -> Held:
    """Return what is held at the peak of a step whose gradients come from these batches of a split."""
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    with fake, torch.device(trial.device):
        network = trial.outline().train()
    objective, live = trial.learn(network), LiveTensors(trial.vocab_size)
    for parameter in network.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(live.note_gradient)  # type: ignore[no-untyped-call]
    for batch in [objective.batch(split, rows) for rows in batches]:
        live.targets = int((batch.targets != IGNORED).sum()) if isinstance(batch, TokenBatch) else 0
        with fake, live:
            loss = objective.measure(batch).loss / 2
            live.note_forward()
            loss.backward()  # type: ignore[no-untyped-call]
    return live.held()


class LiveTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that are made while it is active, as long as each lives.

    `vocab_size` tells logits, of `targets` rows, from other tensors. `targets` is also what a mask chooses where
    there is no content that could say so.
    """

    def __init__(self, vocab_size: int | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.vocab_size = vocab_size
        self.targets = 0
        self.levels: dict[str, Level] = defaultdict(Level)
        self._kinds: dict[int, Kind] = {}
        self._churn = 0.0

    def held(self) -> Held:
        """Return what lived, and how much a process grows by it."""
        levels = self.levels
        process = round((1 + GAPS) * levels["heap"].peak + self._churn) + levels["mapped"].peak
        return Held(levels["activations"].peak, levels["logits"].peak, levels["all"].peak, process)

    def note_forward(self) -> None:
        """Take note that a forward pass is done: what is not kept for the backward pass has come and gone.

        What autograd notes of each operation stands between, so that the gaps do not become one.
        """
        heap = self.levels["heap"]
        self._churn = max(self._churn, heap.worn - CHURN * heap.now)
        heap.worn = CHURN * heap.now

    def note_gradient(self, parameter: Tensor) -> None:
        """Count a parameter's gradient, which is a tensor that is already known, as one from now on."""
        assert parameter.grad is not None
        storage = parameter.grad.untyped_storage()
        kind = self._kinds.get(storage._cdata)
        if kind and kind != "gradients":
            self.levels[kind].add(-storage.nbytes())
            self.levels["gradients"].add(storage.nbytes())
            self._kinds[storage._cdata] = "gradients"

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and count what it made."""
        if func is torch.ops.aten.index.Tensor and _is_masked(args):
            mask = args[1][0]
            chosen = torch.zeros(self.targets, dtype=torch.int64, device=mask.device)
            args = (args[0], [chosen] * mask.dim())
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        before = {leaf.untyped_storage()._cdata for leaf in given}
        wear = CHURN if any(leaf.requires_grad for leaf in given) else UNRECORDED
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._count(leaf, before, wear)
        return result

    def _count(self, tensor: Tensor, before: set[int], wear: float) -> None:
        storage = tensor.untyped_storage()
        address, count = storage._cdata, storage.nbytes()
        if address in before or address in self._kinds:  # a view, or written in place
            return
        self._kinds[address] = self._kind(tensor)
        self._add(self._kinds[address], count, wear)
        weakref.finalize(storage, lambda: self._add(self._kinds.pop(address), -count))

    def _add(self, kind: Kind, count: int, wear: float = 0.0) -> None:
        for level in ("all", kind, "heap" if abs(count) < ARENA else "mapped"):
            self.levels[level].add(count, wear)

    def _kind(self, tensor: Tensor) -> Kind:
        if tensor.dim() != 2 or self.vocab_size is None:
            return "activations"
        if tensor.shape == (self.targets, self.vocab_size):
            return "logits"
        # A head that is the embedding as well gets its gradient in two parts, the first of which waits for the second.
        is_gradient = tensor.shape[0] == self.vocab_size and tensor.dtype == torch.float32
        return "gradients" if is_gradient else "activations"


@dataclass
class Level:
    """Bytes that are there now, most that ever were, and those by which what was ever taken may have worn a heap."""

    now: int = 0
    peak: int = 0
    worn: float = 0.0

    def add(self, count: int, wear: float = 0.0) -> None:
        """Count bytes that came, or went where they are negative."""
        self.now += count
        self.peak = max(self.peak, self.now)
        self.worn += max(count, 0) * wear


def _is_masked(args: Any) -> bool:
    """Tell whether a tensor is asked for the places that a mask without content chooses."""
    mask = args[1][0]
    return isinstance(mask, FakeTensor) and mask.dtype == torch.bool
