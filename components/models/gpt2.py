"""GPT-2, from "Language Models are Unsupervised Multitask Learners" (Radford et al. 2019).

Learned positions, layer norms before attention and MLP, one projection for queries, keys and values, GELU.
Parameters carry the names that Hugging Face's `transformers` gives them, so loading published weights is a copy.
Shapes: B batch, T tokens, D width, H heads, d width of a head.
"""

import math
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from components.models.architecture import Block, Transformer, WeightNames
from components.models.fast.folded import fold_at
from components.models.layers import INITIAL_STD, Embedding, Linear, init_weights_
from components.models.sizes import GPTSize


class Attention(nn.Module):
    """The layers before and after self-attention (Vaswani et al. 2017)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_attn = Linear(width, 3 * width)
        self.c_proj = Linear(width, width)


class MLP(nn.Module):
    """The layers of the feed-forward half: four times wider inside, GELU in its tanh form (Hendrycks & Gimpel 2016)."""

    fused: ClassVar[Mapping[str, str]] = {"c_fc": "act"}

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc = Linear(width, 4 * width)
        self.act = nn.GELU(approximate="tanh")
        self.c_proj = Linear(4 * width, width)


class GPT2Block(Block):
    """A block of GPT-2."""

    def __init__(self, size: GPTSize, dropout: float) -> None:
        super().__init__(dropout)
        self.heads = size.heads
        self.ln_1 = nn.LayerNorm(size.width)
        self.attn = Attention(size.width)
        self.ln_2 = nn.LayerNorm(size.width)
        self.mlp = MLP(size.width)

    def norms(self) -> tuple[nn.Module, nn.Module]:
        """Return what normalises the input of attention, and that of the MLP."""
        return self.ln_1, self.ln_2

    def project(self, x: Tensor, positions: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ARG002 - x holds them
        """Return queries, keys and values, (B, H, T, d) each, of the normalised input (B, T, D)."""
        projected = self.attn.c_attn(x).view(*x.shape[:2], 3, self.heads, -1)
        query, key, value = projected.permute(2, 0, 3, 1, 4)
        return query, key, value

    def merge(self, seen: Tensor) -> Tensor:
        """Return what attention adds, (B, T, D), of what each head has seen, (B, H, T, d)."""
        merged: Tensor = self.attn.c_proj(seen.transpose(1, 2).flatten(2))
        return merged

    def feed(self, x: Tensor) -> Tensor:
        """Return what the MLP adds: (..., D) to (..., D)."""
        mlp = self.mlp
        fed: Tensor = mlp.c_proj(mlp.act(mlp.c_fc(x)))
        return fed

    def at_position(self, x: Tensor, place: Tensor, seen: Tensor) -> Tensor:
        """Return what the block makes of one position of each text, with no work for the others."""
        return fold_at(self, x, place, seen)


class GPT2(Transformer):
    """GPT-2 without a head."""

    name = "gpt2"
    shape = GPTSize
    attention: ClassVar[tuple[str, ...]] = ("attn.c_attn", "attn.c_proj")
    feed_forward: ClassVar[tuple[str, ...]] = ("mlp.c_fc", "mlp.c_proj")
    names = WeightNames(
        prefix="transformer.",
        embedding="wte",
        blocks="h",
        final_norm="ln_f",
        others=("wpe",),
        transposed=("c_attn.weight", "c_proj.weight", "c_fc.weight"),
        buffers=(".attn.bias", ".attn.masked_bias"),
    )

    def __init__(self, size: GPTSize, vocab_size: int, dropout: float = 0.0) -> None:
        super().__init__(size, vocab_size, dropout)
        self.wte = Embedding(vocab_size, size.width)
        self.wpe = Embedding(size.context, size.width)
        self.h = nn.ModuleList([GPT2Block(size, dropout) for _ in range(size.layers)])
        self.ln_f = nn.LayerNorm(size.width)

    def embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Return what stands for tokens at positions, fp32: int64 of shapes that broadcast to (..., D)."""
        embedded: Tensor = self.wte(tokens).float() + self.wpe(positions).float()
        return embedded

    def initialise(self, seed: int) -> None:
        """Draw weights as GPT-2 did: N(0, 0.02), residual projections divided by sqrt(2 * layers), zero biases."""
        residual_std = INITIAL_STD / math.sqrt(2 * self.size.layers)
        init_weights_(self, seed, norm="ln_", residual="c_proj.weight", residual_std=residual_std)
