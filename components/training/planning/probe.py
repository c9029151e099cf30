"""How much memory a step of a training takes, found out by a rehearsal on tensors that have shapes and no content.

Nothing is computed and no memory is taken, so it is the whole network and a whole batch that is rehearsed.
"""

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from components.training.objectives import Objective, Split
from components.training.objectives.instruction import IGNORED, TokenBatch

Kind = Literal["gradients", "logits", "activations"]

Work = Callable[[Objective, nn.Module, Any, Callable[[], None]], None]
"""What is done with a batch; the last argument is told when the forward pass is done."""

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


@dataclass(frozen=True)
class Rehearsal:
    """A training as it would be, without content.

    `outline` makes its network (`components.training.outline`), `objective` what that learns; `vocab_size` is that of
    the vocabulary of a language model, None for others.
    """

    outline: Callable[[], nn.Module]
    objective: Callable[[Any], Objective]
    device: torch.device
    vocab_size: int | None = None

    def learn(self, batches: Sequence[Sequence[int]]) -> Held:
        """Return what is held at the peak of a step whose gradients come from these batches of training rows."""
        return self._rehearse("train", batches, self._forward_backward)

    def evaluate(self, split: Split, rows: Sequence[int]) -> Held:
        """Return what is held while the loss of a batch is measured, gradients of earlier steps not counted."""
        return self._rehearse(split, [rows], self._forward)

    def _rehearse(
        self,
        split: Split,
        batches: Sequence[Sequence[int]],
        work: Work,
    ) -> Held:
        fake = FakeTensorMode(allow_non_fake_inputs=True)
        with fake, torch.device(self.device):
            network = self.outline()
        objective = self.objective(network)
        real = [(batch, _targets(batch)) for batch in (objective.batch(split, list(rows)) for rows in batches)]
        live = LiveTensors(self.vocab_size)
        hooks = [_noting(live, parameter) for parameter in network.parameters() if parameter.requires_grad]
        try:
            with fake, live:
                for batch, live.targets in real:
                    work(objective, network, batch, live.note_forward)
        finally:
            for hook in hooks:
                hook.remove()
        return live.held()

    @staticmethod
    def _forward_backward(objective: Objective, network: nn.Module, batch: Any, half_way: Callable[[], None]) -> None:
        network.train()
        loss = objective.measure(batch).loss / 2
        half_way()
        loss.backward()  # type: ignore[no-untyped-call]

    @staticmethod
    @torch.inference_mode()
    def _forward(objective: Objective, network: nn.Module, batch: Any, _half_way: Callable[[], None]) -> None:
        network.eval()
        objective.measure(batch)


def _targets(batch: Any) -> int:
    """Return how many tokens of a batch are learnt from; a classifier's has none."""
    return int((batch.targets != IGNORED).sum()) if isinstance(batch, TokenBatch) else 0


def _noting(live: "LiveTensors", parameter: Tensor) -> Any:
    """Tell `live` of a parameter's gradient when it is there."""

    def note(parameter: Tensor) -> None:
        if parameter.grad is not None:
            live.note_gradient(parameter.grad)

    return parameter.register_post_accumulate_grad_hook(note)  # type: ignore[no-untyped-call]


class LiveTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that are made while it is active, as long as each lives.

    `vocab_size` tells logits, of `targets` rows, from other tensors. `targets` is also what a mask chooses where
    there is no content that could say so.
    """

    def __init__(self, vocab_size: int | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.vocab_size = vocab_size
        self.targets = 0
        self.bytes = 0
        self.peak = 0
        self._kinds: dict[int, Kind] = {}
        self._levels = {kind: _Level() for kind in get_args(Kind)}
        self._heap = _Level()
        self._mapped = _Level()
        self._churn = 0.0
        self._is_recorded = False

    def held(self) -> Held:
        """Return what lived, and how much a process grows by it."""
        return Held(
            activations=self._levels["activations"].peak,
            logits=self._levels["logits"].peak,
            peak=self.peak,
            process=round((1 + GAPS) * self._heap.peak + self._churn) + self._mapped.peak,
        )

    def note_forward(self) -> None:
        """Take note that a forward pass is done: what is not kept for the backward pass has come and gone.

        What autograd notes of each operation stands between, so that the gaps do not become one.
        """
        self._churn = max(self._churn, self._heap.worn - CHURN * self._heap.now)
        self._heap.worn = CHURN * self._heap.now

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and count what it made."""
        if func is torch.ops.aten.index.Tensor and _is_masked(args):
            args = (args[0], self._chosen(args[1][0]))
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        before = {leaf.untyped_storage()._cdata for leaf in given}
        self._is_recorded = any(leaf.requires_grad for leaf in given)
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._count(leaf, before)
        return result

    def note_gradient(self, gradient: Tensor) -> None:
        """Count a tensor that is already known as a parameter's gradient from now on."""
        storage = gradient.untyped_storage()
        kind = self._kinds.get(storage._cdata)
        if kind and kind != "gradients":
            self._add(kind, -storage.nbytes())
            self._add("gradients", storage.nbytes())
            self._kinds[storage._cdata] = "gradients"

    def _chosen(self, mask: Tensor) -> list[Tensor]:
        """Return places such as the mask would choose, as many as there are."""
        places = torch.zeros(self.targets, dtype=torch.int64, device=mask.device)
        return [places] * mask.dim()

    def _count(self, tensor: Tensor, before: set[int]) -> None:
        storage = tensor.untyped_storage()
        address = storage._cdata
        if address in before or address in self._kinds:  # a view, or written in place
            return
        self._kinds[address] = self._kind(tensor)
        self._add(self._kinds[address], storage.nbytes())
        self.peak = max(self.peak, self.bytes)
        self._level(storage.nbytes()).add(storage.nbytes(), CHURN if self._is_recorded else UNRECORDED)
        weakref.finalize(storage, self._forget, address, storage.nbytes())

    def _kind(self, tensor: Tensor) -> Kind:
        if tensor.dim() != 2 or self.vocab_size is None:
            return "activations"
        if tensor.shape == (self.targets, self.vocab_size):
            return "logits"
        # A head that is the embedding as well gets its gradient in two parts, the first of which waits for the second.
        is_gradient = tensor.shape[0] == self.vocab_size and tensor.dtype == torch.float32
        return "gradients" if is_gradient else "activations"

    def _forget(self, address: int, count: int) -> None:
        self._add(self._kinds.pop(address), -count)
        self._level(count).add(-count)

    def _add(self, kind: Kind, count: int) -> None:
        self.bytes += count
        self._levels[kind].add(count)

    def _level(self, count: int) -> "_Level":
        return self._heap if count < ARENA else self._mapped


@dataclass
class _Level:
    """Bytes that are there now, most that ever were, and those by which what was ever taken may have worn a heap."""

    now: int = 0
    peak: int = 0
    worn: float = 0.0

    def add(self, count: int, wear: float = 0.0) -> None:
        self.now += count
        self.peak = max(self.peak, self.now)
        self.worn += count * wear


def _is_masked(args: Any) -> bool:
    """Tell whether a tensor is asked for the places that a mask without content chooses."""
    mask = args[1][0]
    return isinstance(mask, FakeTensor) and mask.dtype == torch.bool
