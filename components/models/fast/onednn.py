"""Linear layers through oneDNN on a CPU, with weights that are laid out for it beforehand, in half the time.

In fp32 torch lets MKL multiply, which on AMD processors reaches a third of that (146 against 399 GFLOP/s: two cores of
a Zen 5, 1,024 tokens, 768 to 3,072). The setting that moves all of torch to oneDNN
(`torch.set_float32_matmul_precision("medium")`) also lets it round to bf16 where the processor has AMX; so laid out,
fp32 stays fp32 everywhere. GELU is computed on the way out of a product.

What torch has for this is private: no other module touches it, and where it is not there torch multiplies as ever.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from components.models.fast import uses

ROWS = 128
"""Tokens at once that weights are laid out for; other numbers are as right, and hardly slower."""
NEEDED = ("_reorder_linear_weight", "_linear_pointwise", "_is_mkldnn_bf16_supported")


class PackedLinear:
    """A linear layer, and GELU (tanh form) after it if asked for, computed in `dtype` and without gradients."""

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype, gelu: bool = False) -> None:
        """`weight` (out, in) and `bias` (out,) are left as they are."""
        self.weight = weight.detach().to(dtype)
        self.bias = None if bias is None else bias.detach().to(dtype)
        self.gelu = gelu
        self.packed = onednn_multiplies(weight.device, dtype)
        if self.packed:
            self.weight = torch.ops.mkldnn._reorder_linear_weight(self.weight, ROWS)

    def __call__(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out), of type `dtype`."""
        x = x.to(self.weight.dtype)
        if self.packed:
            then: tuple[str, list[float], str] = ("gelu", [], "tanh") if self.gelu else ("none", [], "")
            computed: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, *then)
            return computed
        out = F.linear(x, self.weight, self.bias)
        return F.gelu(out, approximate="tanh") if self.gelu else out


def onednn_multiplies(device: torch.device, dtype: torch.dtype) -> bool:
    """Tell whether oneDNN multiplies such numbers there, as far as this torch lets it."""
    if not uses("packed weights") or device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if not all(hasattr(torch.ops.mkldnn, name) for name in NEEDED):
        return False
    return dtype == torch.float32 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
