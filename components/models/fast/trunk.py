"""The blocks below the first that trains: what they make of a text never changes, so they are computed once.

No gradients, texts of like length together, and weights in the form in which the machine multiplies fastest.
Shapes: B batch, T tokens, D width.
"""

import torch
from torch import Tensor

from components.models.architecture import Block, Transformer
from components.models.devices import autocast, dtype_of
from components.models.fast.onednn import onednn_multiplies
from components.models.fast.prepared import prepared

TOKENS = 512
"""Tokens that go through the blocks at once: enough to keep two cores busy, few enough for their caches."""


class Trunk:
    """The embedding and the first `blocks` blocks of a transformer, which is of no other use from then on."""

    def __init__(self, transformer: Transformer, blocks: int, device: torch.device, precision: str) -> None:
        self.transformer = transformer.eval().to(device)
        self.blocks: list[Block] = transformer.blocks[:blocks]
        self.device = device
        self.precision = precision
        if onednn_multiplies(device, torch.float32):
            self.blocks = [prepared(block, dtype_of(precision), take=True) for block in self.blocks]

    @torch.inference_mode()
    def __call__(self, tokens: Tensor, lengths: Tensor, causal: bool) -> Tensor:
        """Return the states (B, T, D) after the blocks, for tokens (B, T) of which the first `lengths` (B,) count.

        States in fp32 on the device, the sums between blocks too, where the blocks themselves compute in bf16.
        """
        tokens = tokens.to(self.device)
        positions = torch.arange(tokens.shape[1], device=self.device)
        causal = causal and not self.transformer.size.is_encoder
        visible = None if causal else (positions < lengths.to(self.device)[:, None])[:, None, None]
        x = self.transformer.embed(tokens, positions)
        with autocast(self.device, self.precision):
            for block in self.blocks:
                x = block(x, causal, visible, positions)
        return x
