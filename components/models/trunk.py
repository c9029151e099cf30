"""The blocks below the first that trains: what they make of a text never changes, so they are computed once.

No gradients, texts of like length together, and weights in the form in which the machine multiplies fastest.
Shapes: B batch, T tokens, D width.
"""

from typing import Any

import torch
from torch import Tensor

from components.models.devices import autocast
from components.models.fixed import FixedBlock
from components.models.gpt import Transformer
from components.models.states import dtype_of

TOKENS = 512
"""Tokens that go through the blocks at once: enough to keep two cores busy, few enough for their caches."""


class Trunk:
    """The embedding and the first `blocks` blocks of a transformer, which is of no other use from then on."""

    def __init__(self, transformer: Transformer, blocks: int, device: torch.device, precision: str) -> None:
        self.transformer = transformer.eval().to(device)
        self.blocks: list[Any] = list(transformer.h[:blocks])
        self.device = device
        self.precision = precision
        if device.type == "cpu" and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
            self.blocks = [FixedBlock(block, dtype_of(precision)) for block in self.blocks]

    @torch.inference_mode()
    def __call__(self, tokens: Tensor, lengths: Tensor, causal: bool) -> Tensor:
        """Return the states (B, T, D) after the blocks, for tokens (B, T) of which the first `lengths` (B,) count.

        States in fp32 on the device, the sums between blocks too, where the blocks themselves compute in bf16.
        """
        tokens = tokens.to(self.device)
        positions = torch.arange(tokens.shape[1], device=self.device)
        visible = None if causal else (positions < lengths.to(self.device)[:, None])[:, None, None]
        x: Tensor = self.transformer.wte(tokens) + self.transformer.wpe(positions)
        with autocast(self.device, self.precision):
            for block in self.blocks:
                x = block(x, causal, visible)
        return x
