"""How much memory one step of a network takes, found out on a copy with fewer blocks and rows.

Shapes: B batch, T tokens.
"""

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from components.model.classifier import Classifier
from components.model.config import LoraConfig, ModelConfig
from components.model.devices import autocast
from components.model.gpt import Transformer
from components.model.lora import add_adapters
from components.model.trainable import set_trainable
from components.training.config import TrainConfig

LAYERS = (2, 3)
ROWS = (2, 3)
WORDS = 8
"""Size of the copy's vocabulary; that of the real one changes nothing but weights and their gradients."""


def activation_bytes(
    model: ModelConfig,
    lora: LoraConfig,
    config: TrainConfig,
    classes: int,
    length: int,
    device: torch.device,
    precision: str,
) -> int:
    """Return the most bytes that a step on (batch_size, `length`) tokens holds besides weights and their gradients.

    That is what the forward pass saves for the backward pass (nothing before the first block that trains), and what
    is needed in passing. Four steps of a network with 2 or 3 blocks, on 1 or 2 rows, tell how both grow with
    blocks and rows; they grow linearly.
    """
    few, more = (
        [_measure(model, lora, config, classes, layers, rows, length, device, precision) for rows in ROWS]
        for layers in LAYERS
    )
    kept, passing = (_line(ROWS, sizes, config.batch_size) for sizes in zip(*few, strict=True))
    kept_by_more = _line(ROWS, [sizes[0] for sizes in more], config.batch_size)
    return max(_line(LAYERS, (kept, kept_by_more), model.shape.layers), 0) + max(passing, 0)


def _line(at: tuple[int, int], values: Sequence[int], x: int) -> int:
    """Return where the line through two points is at `x`."""
    return values[0] + (x - at[0]) * (values[1] - values[0]) // (at[1] - at[0])


def outline(
    model: ModelConfig, lora: LoraConfig, config: TrainConfig, classes: int, vocabulary: int, layers: int | None = None
) -> Classifier:
    """Return the classifier that a run would train, with its part that trains unfrozen, and untrained weights.

    Made under `torch.device("meta")` it takes no memory, whatever its size.
    """
    shape = model.shape.model_copy(update={"layers": layers or model.shape.layers})
    transformer = Transformer(shape, vocabulary, model.dropout)
    classifier = Classifier(transformer, classes, config.pooling, config.seed, config.causal)
    if config.trainable == "lora":
        add_adapters(transformer, lora, config.seed)
    set_trainable(classifier, config.trainable)
    return classifier


def _measure(
    model: ModelConfig,
    lora: LoraConfig,
    config: TrainConfig,
    classes: int,
    layers: int,
    rows: int,
    length: int,
    device: torch.device,
    precision: str,
) -> tuple[int, int]:
    """Return the bytes that a forward pass keeps for the backward pass, and how many more there are at the peak."""
    network = outline(model, lora, config, classes, WORDS, layers)
    network.transformer.initialise(0)
    network.to(device).train()
    tokens = torch.zeros(rows, length, dtype=torch.int64, device=device)
    lengths = torch.full((rows,), length, device=device)
    with LiveTensors() as live, _gradients_dropped(network):
        with autocast(device, precision):
            logits = network(tokens, lengths)
        loss = F.cross_entropy(logits.float(), tokens[:, 0] % classes)
        kept = live.bytes
        loss.backward()  # type: ignore[no-untyped-call]
    return kept, live.peak - kept


class LiveTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that are made while it is active, as long as each lives."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0
        self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and count what it made."""
        before = {leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage(), before)
        return result

    def _count(self, storage: Any, before: set[int]) -> None:
        address = storage._cdata
        if address in before or address in self._known:  # a view, or written in place
            return
        self._known.add(address)
        self.bytes += storage.nbytes()
        self.peak = max(self.peak, self.bytes)
        weakref.finalize(storage, self._forget, address, storage.nbytes())

    def _forget(self, address: int, count: int) -> None:
        self._known.discard(address)
        self.bytes -= count


@contextmanager
def _gradients_dropped(network: nn.Module) -> Iterator[None]:
    """Let go of every parameter's gradient as soon as it is there: they are counted elsewhere."""

    def drop(parameter: Tensor) -> None:
        parameter.grad = None

    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    hooks = [
        parameter.register_post_accumulate_grad_hook(drop)  # type: ignore[no-untyped-call]
        for parameter in trained
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
