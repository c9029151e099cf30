"""Networks whose weights do not change, made ready to run often: the same as in evaluation mode, in half the time.

Weights are converted once, and on a CPU laid out as it multiplies fastest (`components.models.fast.onednn`).
"""

import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.models.fast.onednn import PackedLinear
from components.models.lora import LoraLinear

Part = TypeVar("Part", bound=nn.Module)


def prepared(module: Part, dtype: torch.dtype, take: bool = False, fuse: bool = True) -> Part:
    """Return a copy of a block, or of a network, without dropout and gradients. It sums in fp32, multiplies in `dtype`.

    Adapters are merged. The copy's parts are plain attributes, which are found sooner than modules: decoding a token
    looks some hundreds of them up. With `take` the original loses the weights of its linear layers, so that there are
    never two of them; else it stays as it is. Without `fuse` a GELU is computed by itself, as in the original.
    """
    copy = type(module).__new__(type(module))
    nn.Module.__init__(copy)
    own: dict[str, Any] = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    tensors = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    own |= {name: tensor.detach() for name, tensor in tensors}
    fused: Mapping[str, str] = getattr(module, "fused", {}) if fuse else {}
    for names in getattr(module, "together", ()):
        own |= _together({name: getattr(module, name) for name in names}, dtype, take)
    for name, part in module.named_children():
        if name not in own:
            own[name] = _unchanged if name in fused.values() else _part(part, dtype, take, fuse, gelu=name in fused)
    vars(copy).update(own, training=False)
    return copy


def _part(part: nn.Module, dtype: torch.dtype, take: bool, fuse: bool, gelu: bool) -> Any:
    match part:
        case nn.Linear():
            return PackedLinear(*_weights(part, take), dtype, gelu)
        case nn.LayerNorm() | nn.RMSNorm():
            return _norm(part, dtype)
        case nn.Dropout() | nn.Identity():
            return _unchanged
        case nn.ModuleList():
            return [prepared(each, dtype, take, fuse) for each in part]
        case _:
            return prepared(part, dtype, take, fuse)


def _weights(layer: nn.Linear, take: bool) -> tuple[Tensor, Tensor | None]:
    """Return weight and bias of a layer with its adapter merged, which with `take` it has no longer."""
    merged = layer.merged() if isinstance(layer, LoraLinear) else layer
    weight, bias = merged.weight, merged.bias
    if take:
        layer.weight = layer.bias = None  # type: ignore[assignment]
    return weight, bias


def _together(layers: Mapping[str, nn.Linear], dtype: torch.dtype, take: bool) -> dict[str, Callable[[Tensor], Tensor]]:
    """Return layers that read the same, in the order in which they are asked; one product is made for the first.

    Several threads may ask at once, each of its own input.
    """
    sizes = [layer.out_features for layer in layers.values()]
    weights, biases = zip(*(_weights(layer, take) for layer in layers.values()), strict=True)
    packed = PackedLinear(torch.cat(weights), None if biases[0] is None else torch.cat(biases), dtype)
    this_thread = threading.local()

    def first(x: Tensor) -> Tensor:
        own, *this_thread.waiting = torch.split(packed(x), sizes, dim=-1)
        return own

    def other(_: Tensor) -> Tensor:
        waiting: Tensor = this_thread.waiting.pop(0)
        return waiting

    return {name: other if place else first for place, name in enumerate(layers)}


def _unchanged(x: Tensor) -> Tensor:
    return x


def _norm(norm: nn.LayerNorm | nn.RMSNorm, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """Return a norm that is computed in fp32, its result in the type that the next layer multiplies in."""
    shape, weight = norm.normalized_shape, norm.weight.detach().float()
    if isinstance(norm, nn.RMSNorm):
        rms_epsilon = norm.eps
        return lambda x: F.rms_norm(x.float(), shape, weight, rms_epsilon).to(dtype)
    bias, epsilon = None if norm.bias is None else norm.bias.detach().float(), norm.eps
    return lambda x: F.layer_norm(x, shape, weight, bias, epsilon).to(dtype)
