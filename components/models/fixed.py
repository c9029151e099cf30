"""Blocks whose weights do not change, on a CPU: what a `Block` in evaluation mode computes, in half the time.

Linear layers go through oneDNN with weights that are laid out for it beforehand. In fp32 torch lets MKL multiply, which
on AMD processors reaches a third of that (146 against 399 GFLOP/s: two cores of a Zen 5, 1,024 tokens, 768 to 3,072).
The setting that moves all of torch to oneDNN (`torch.set_float32_matmul_precision("medium")`) also lets it round to
bf16 where the processor has AMX; so prepared, fp32 stays fp32 everywhere. GELU is computed on the way out of a product.
Shapes: B batch, T tokens, D width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.models.gpt import Block

ROWS = 128
"""Tokens at once that weights are laid out for; other numbers are as right, and hardly slower."""


class FixedLinear:
    """A linear layer, and GELU (tanh form) after it if asked for, computed in `dtype` and without gradients."""

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype, gelu: bool = False) -> None:
        """`weight` (out, in) and `bias` (out,) are left as they are."""
        self.weight = weight.detach().to(dtype)
        self.bias = None if bias is None else bias.detach().to(dtype)
        self.gelu = gelu
        self.laid_out = onednn_computes(weight.device, dtype)
        if self.laid_out:
            self.weight = torch.ops.mkldnn._reorder_linear_weight(self.weight, ROWS)

    def __call__(self, x: Tensor) -> Tensor:
        """(..., in), of type `dtype`, to (..., out)."""
        if self.laid_out:
            then: tuple[str, list[float], str] = ("gelu", [], "tanh") if self.gelu else ("none", [], "")
            computed: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, *then)
            return computed
        out = F.linear(x, self.weight, self.bias)
        return F.gelu(out, approximate="tanh") if self.gelu else out


def onednn_computes(device: torch.device, dtype: torch.dtype) -> bool:
    """Tell whether oneDNN multiplies such numbers there."""
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return dtype == torch.float32 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class FixedLayer(nn.Module):
    """A `FixedLinear` in the place of a layer in a model."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self._linear = _taken(layer, layer.weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        return self._linear(x)


def fix_linear_layers(model: nn.Module) -> None:
    """Put a `FixedLayer` in the place of every linear layer, in a model that will not train any more, on the CPU."""
    for module in list(model.modules()):
        for name, layer in module.named_children():
            if isinstance(layer, nn.Linear) and onednn_computes(layer.weight.device, layer.weight.dtype):
                setattr(module, name, FixedLayer(layer))


class FixedBlock:
    """What was a `Block`, without dropout and gradients. It sums in fp32, and multiplies in `dtype`.

    It takes the block's weights away, so that there are never two of them.
    """

    def __init__(self, block: Block, dtype: torch.dtype) -> None:
        self.mix = block.attn.mix
        self.dtype = dtype
        self.ln_1, self.ln_2 = block.ln_1, block.ln_2
        self.to_attend = _taken(block.attn.c_attn, dtype)
        self.attended = _taken(block.attn.c_proj, dtype)
        self.up = _taken(block.mlp.c_fc, dtype, gelu=True)
        self.down = _taken(block.mlp.c_proj, dtype)

    def __call__(self, x: Tensor, causal: bool = True, visible: Tensor | None = None) -> Tensor:
        """(B, T, D) to (B, T, D), fp32: each position sees those before it, or, not causal, `visible` (B, 1, 1, T)."""
        x = x + self.attended(self.mix(self.to_attend(self.ln_1(x).to(self.dtype)), causal, visible))
        return x + self.down(self.up(self.ln_2(x).to(self.dtype)))


def _taken(layer: nn.Linear, dtype: torch.dtype, gelu: bool = False) -> FixedLinear:
    fixed = FixedLinear(layer.weight, layer.bias, dtype, gelu)
    layer.weight = layer.bias = None  # type: ignore[assignment]
    return fixed
