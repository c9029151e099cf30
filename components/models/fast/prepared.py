"""Networks whose weights do not change, made ready to run often: the same as in evaluation mode, in half the time.

Weights are converted once, and on a CPU laid out as it multiplies fastest (`components.models.fast.onednn`).
"""

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
    never two of them; else it stays as it is. Without `fuse` a GELU is computed by
    itself, as in the original.
    """
    copy = type(module).__new__(type(module))
    nn.Module.__init__(copy)
    own: dict[str, Any] = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    tensors = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    own |= {name: tensor.detach() for name, tensor in tensors}
    fused: Mapping[str, str] = getattr(module, "fused", {}) if fuse else {}
    for name, part in module.named_children():
        own[name] = _unchanged if name in fused.values() else _part(part, dtype, take, fuse, gelu=name in fused)
    vars(copy).update(own, training=False)
    return copy


def _part(part: nn.Module, dtype: torch.dtype, take: bool, fuse: bool, gelu: bool) -> Any:
    match part:
        case nn.Linear():
            merged = part.merged() if isinstance(part, LoraLinear) else part
            packed = PackedLinear(merged.weight, merged.bias, dtype, gelu)
            if take:
                part.weight = part.bias = None  # type: ignore[assignment]
            return packed
        case nn.LayerNorm() | nn.RMSNorm():
            return _norm(part, dtype)
        case nn.Dropout() | nn.Identity():
            return _unchanged
        case nn.ModuleList():
            return [prepared(each, dtype, take, fuse) for each in part]
        case _:
            return prepared(part, dtype, take, fuse)


def _unchanged(x: Tensor) -> Tensor:
    return x


def _norm(norm: nn.LayerNorm | nn.RMSNorm, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """Return a norm that is computed in fp32, its result in the type that the next layer multiplies in."""
    shape, weight = norm.normalized_shape, norm.weight.detach().float()
    if isinstance(norm, nn.RMSNorm):
        rms_epsilon = norm.eps
        return lambda x: F.rms_norm(x, shape, weight, rms_epsilon).to(dtype)
    bias, epsilon = None if norm.bias is None else norm.bias.detach().float(), norm.eps
    return lambda x: F.layer_norm(x, shape, weight, bias, epsilon).to(dtype)
