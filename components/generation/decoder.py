"""A language model made ready to decode: its weights converted once, and laid out as the machine multiplies fastest.

What it computes is what the model does, which stays as it is: adapters are merged, and sums between layers stay in
fp32. What the tokens see of each other is left to whoever calls, who may keep it (`components.generation.kv_cache`).
Shapes: B rows, T tokens, D width, V vocabulary.
"""

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from components.generation.kv_cache import KVCache
from components.models.architecture import Attend, Transformer
from components.models.devices import dtype_of
from components.models.fast.onednn import PackedLinear
from components.models.fast.prepared import prepared
from components.models.language_model import LanguageModel

Weights = Literal["copied", "taken", "lent"]
"""What becomes of a model's weights: they are converted and stay, are converted and go, or are used as they lie."""


class Decoder:
    """A language model that decodes, on the device of its weights; another `Decoder` is due when these change."""

    def __init__(self, model: LanguageModel, precision: str, weights: Weights = "copied") -> None:
        """`precision` is `fp32` or `bf16`, the numbers that are multiplied.

        Of the weights of linear layers, and in bf16 of what stands for tokens, there are two, unless the model loses
        its own (`taken`: from then on it can be run by this decoder alone) or lends them. Those that are lent suffice
        for a row or two, in evaluation mode; they are copied all the same where anything is not in fp32.
        """
        self.model, self.size = model, model.transformer.size
        # A text that is longer than a window is read by the model itself.
        self._take = weights == "taken" and model.transformer.window is None
        self.device = model.head.device
        self.type = dtype_of(precision)
        # Whatever is multiplied in bf16 would be converted again for every token.
        in_fp32 = {self.type, *(each.dtype for each in model.parameters())} == {torch.float32}
        self.lends = weights == "lent" and in_fp32

    @cached_property
    def _network(self) -> Transformer:
        """The network made ready when it is first used: what reads texts without a cache needs no second copy of it."""
        if self.lends:
            return self.model.transformer
        network = prepared(self.model.transformer, self.type, self._take)
        if self.type != torch.float32:
            setattr(network, network.names.embedding, self._rounded_embedding())
        return network

    def _rounded_embedding(self) -> Callable[[Tensor], Tensor]:
        """Return what stands for tokens in the type that is multiplied in: rounded once if taken, else when read."""
        _ = self._head  # of the same weights, where they are tied
        embedding, rounded = self.model.transformer.embedding, self.type
        weight = embedding.weight.detach()
        if self._take:
            embedding.weight = None  # type: ignore[assignment]
            weight = weight.to(rounded)
        # Not of `self`: in a circle, converted weights would stay until Python looks for such.
        return lambda tokens: F.embedding(tokens, weight).to(rounded)

    @cached_property
    def _head(self) -> Callable[[Tensor], Tensor]:
        if self.lends:
            return partial(F.linear, weight=self.model.head)
        packed = PackedLinear(self.model.head, None, self.type)
        if self._take and self.model.lm_head is not None:
            self.model.lm_head.weight = None  # type: ignore[assignment]
        return packed

    def sees_all(self, length: int) -> bool:
        """Tell whether every token of a text of such a length sees all before it: a cache has no sliding window."""
        window = self.model.transformer.window
        return window is None or length <= window

    def cache(self, rows: int, columns: int) -> KVCache:
        """Return the key-value cache of a block, with room for so many columns of each row."""
        like = torch.empty(0, dtype=self.type, device=self.device)
        return KVCache(rows, self.size.kv_heads, self.size.head_width, columns, like)

    def hidden(self, tokens: Tensor, positions: Tensor, attends: Sequence[Attend]) -> Tensor:
        """Return what the last block says of tokens (B, T), not normalised: (B, T, D), fp32.

        `positions` (B, T) are their places in their texts. `attends` is what each block does to look around.
        """
        x = self._network.embed(tokens, positions)
        with torch.autocast(self.device.type, enabled=False):
            for block, attend in zip(self._network.blocks, attends, strict=True):
                x = block.run(x, attend, positions)
        return x

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits of what follows: (B, D) to (B, V), in the type that is multiplied in."""
        with torch.autocast(self.device.type, enabled=False):
            return self._head(self._network.final_norm(hidden))
