"""Blocks whose weights do not change, on a CPU: what a `Block` in evaluation mode computes, in half the time.

Linear layers go through oneDNN with weights that are laid out for it beforehand. In fp32 torch lets MKL multiply, which
on AMD processors reaches a third of that (146 against 399 GFLOP/s: two cores of a Zen 5, 1,024 tokens, 768 to 3,072).
The setting that moves all of torch to oneDNN (`torch.set_float32_matmul_precision("medium")`) also lets it round to
bf16 where the processor has AMX; so prepared, fp32 stays fp32 everywhere. GELU is computed on the way out of a product.
Shapes: B batch, T tokens, D width.
"""

import torch
from torch import Tensor, nn

from components.model.gpt import Block


class FixedLinear:
    """A linear layer, and GELU (tanh form) if asked for: (..., in) to (..., out), computed in `dtype`; no gradients.

    It takes the layer's weight away, so that there are never two of it.
    """

    def __init__(self, layer: nn.Linear, dtype: torch.dtype, gelu: bool = False) -> None:
        self.weight = layer.weight.detach().to(dtype).to_mkldnn()
        self.bias = layer.bias.detach().to(dtype)
        layer.weight = layer.bias = None  # type: ignore[assignment]
        self.then: tuple[str, list[float], str] = ("gelu", [], "tanh") if gelu else ("none", [], "")

    def __call__(self, x: Tensor) -> Tensor:
        """Return the layer's output in its own type."""
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x.to(self.bias.dtype), self.weight, self.bias, *self.then)
        return out


class FixedBlock:
    """What was a `Block`, without dropout and gradients. It sums in fp32, and multiplies in `dtype`."""

    def __init__(self, block: Block, dtype: torch.dtype) -> None:
        self.mix = block.attn.mix
        self.ln_1, self.ln_2 = block.ln_1, block.ln_2
        self.to_attend = FixedLinear(block.attn.c_attn, dtype)
        self.attended = FixedLinear(block.attn.c_proj, dtype)
        self.up = FixedLinear(block.mlp.c_fc, dtype, gelu=True)
        self.down = FixedLinear(block.mlp.c_proj, dtype)

    def __call__(self, x: Tensor, causal: bool = True, visible: Tensor | None = None) -> Tensor:
        """(B, T, D) to (B, T, D), fp32: each position sees those before it, or, not causal, `visible` (B, 1, 1, T)."""
        x = x + self.attended(self.mix(self.to_attend(self.ln_1(x)), causal, visible))
        return x + self.down(self.up(self.ln_2(x)))
