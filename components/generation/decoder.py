"""A language model made ready to decode: its weights converted once, and laid out as the machine multiplies fastest.

The arithmetic is that of `components.models.gpt`, whose modules are read and left as they are: adapters are merged,
GELU is computed together with the layer before it, and sums between layers stay in fp32. What the tokens see of each
other is left to whoever calls, who may remember it.
Shapes: B rows, T tokens, D width, H heads, V vocabulary.
"""

from collections.abc import Callable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.generation.memory import Memory
from components.models.fixed import FixedLinear
from components.models.gpt import GPT, Block
from components.models.lora import LoraLinear

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From queries, keys and values of the tokens that a layer reads, (B, H, T, D/H) each, to what these tokens see of
themselves and of whatever was read before: (B, H, T, D/H)."""

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Decoder:
    """A language model that decodes, on the device of its weights; changes of the model do not reach it any more."""

    @torch.inference_mode()
    def __init__(self, model: GPT, precision: str) -> None:
        """`precision` is `fp32` or `bf16`, the numbers that are multiplied."""
        trunk = model.transformer
        self.size = trunk.size
        self.device = model.head.device
        self.type = TYPES[precision]
        self._tokens, self._positions = trunk.wte.weight.detach(), trunk.wpe.weight.detach()
        self._blocks = [_Block(cast(Block, block), self.type) for block in trunk.h]
        self._norm = _Norm(trunk.ln_f, self.type)
        self._head = FixedLinear(model.head, None, self.type)

    def memory(self, rows: int, columns: int) -> Memory:
        """Return the memory of a layer, with room for so many columns of each row."""
        heads, width = self.size.heads, self.size.width
        return Memory(rows, heads, width // heads, columns, torch.empty(0, dtype=self.type, device=self.device))

    def hidden(self, tokens: Tensor, positions: Tensor, attends: Sequence[Attend]) -> Tensor:
        """Return what the last block says of tokens (B, T), not normalised: (B, T, D), fp32.

        `positions` (B, T) are their places in their texts, and `attends` is what each block does to look around.
        """
        x = self._tokens[tokens].float() + self._positions[positions].float()
        with torch.autocast(self.device.type, enabled=False):
            for block, attend in zip(self._blocks, attends, strict=True):
                x = block(x, attend)
        return x

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits of what follows: (B, D) to (B, V), in the type that is multiplied in."""
        with torch.autocast(self.device.type, enabled=False):
            return self._head(self._norm(hidden))


class _Block:
    """Attention, then MLP, as `components.models.gpt.Block`."""

    def __init__(self, block: Block, dtype: torch.dtype) -> None:
        self.heads = block.attn.heads
        self.before_attention = _Norm(block.ln_1, dtype)
        self.attention_in = _linear(block.attn.c_attn, dtype)
        self.attention_out = _linear(block.attn.c_proj, dtype)
        self.before_mlp = _Norm(block.ln_2, dtype)
        self.mlp_in = _linear(block.mlp.c_fc, dtype, gelu=True)
        self.mlp_out = _linear(block.mlp.c_proj, dtype)

    def __call__(self, x: Tensor, attend: Attend) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        parts = self.attention_in(self.before_attention(x)).view(*x.shape[:2], 3, self.heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        x = x + self.attention_out(attend(query, key, value).transpose(1, 2).flatten(2))
        return x + self.mlp_out(self.mlp_in(self.before_mlp(x)))


class _Norm:
    """Layer normalisation in fp32, the result in the type that the next layer multiplies in."""

    def __init__(self, norm: nn.LayerNorm, dtype: torch.dtype) -> None:
        self.shape, self.epsilon, self.dtype = norm.normalized_shape, norm.eps, dtype
        self.weight, self.bias = norm.weight.detach().float(), norm.bias.detach().float()

    def __call__(self, x: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        return F.layer_norm(x, self.shape, self.weight, self.bias, self.epsilon).to(self.dtype)


def _linear(layer: nn.Linear, dtype: torch.dtype, gelu: bool = False) -> FixedLinear:
    merged = layer.merged() if isinstance(layer, LoraLinear) else layer
    return FixedLinear(merged.weight, merged.bias, dtype, gelu)
