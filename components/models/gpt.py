"""GPT-2, from "Language Models are Unsupervised Multitask Learners" (Radford et al. 2019).

Parameters carry the names that Hugging Face's `transformers` gives them, so loading published weights is a copy.
Shapes: B batch, T tokens, D width, H heads, V vocabulary.
"""

import math
import zlib

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from components.core.errors import ConfigError
from components.models.attention import attend
from components.models.config import GPTSize

INITIAL_STD = 0.02


class Linear(nn.Linear):
    """A linear layer that is not initialised: its weights are drawn or loaded right after, and drawing takes time."""

    def reset_parameters(self) -> None:
        """Leave the memory as it is."""


class Embedding(nn.Embedding):
    """An embedding that is not initialised, for the same reason."""

    def reset_parameters(self) -> None:
        """Leave the memory as it is."""


class Attention(nn.Module):
    """Self-attention over H heads, each of width D / H (Vaswani et al. 2017)."""

    def __init__(self, size: GPTSize, dropout: float) -> None:
        super().__init__()
        self.heads = size.heads
        self.dropout = dropout
        self.c_attn = Linear(size.width, 3 * size.width)
        self.c_proj = Linear(size.width, size.width)

    def forward(self, x: Tensor, causal: bool = True, visible: Tensor | None = None) -> Tensor:
        """Mix positions, (B, T, D) to (B, T, D): each sees itself and those before it, or, not causal, `visible`."""
        mixed: Tensor = self.c_proj(self.mix(self.c_attn(x), causal, visible))
        return mixed

    def mix(self, projected: Tensor, causal: bool = True, visible: Tensor | None = None) -> Tensor:
        """Return what the heads see, side by side, (B, T, D), of queries, keys and values side by side, (B, T, 3D)."""
        rows, length, _ = projected.shape
        query, key, value = projected.view(rows, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # (B, H, T, D/H)
        seen = attend(query, key, value, causal, visible, self.dropout if self.training else 0.0)
        return seen.transpose(1, 2).flatten(2)


class MLP(nn.Module):
    """The position-wise half of a block: four times wider inside, GELU in its tanh form (Hendrycks & Gimpel 2016)."""

    def __init__(self, size: GPTSize) -> None:
        super().__init__()
        self.c_fc = Linear(size.width, 4 * size.width)
        self.c_proj = Linear(4 * size.width, size.width)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each position by itself: (B, T, D) to (B, T, D)."""
        transformed: Tensor = self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))
        return transformed


class Block(nn.Module):
    """Attention, then MLP, each on the normalised input and added to it (pre-norm residual)."""

    def __init__(self, size: GPTSize, dropout: float) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(size.width)
        self.attn = Attention(size, dropout)
        self.ln_2 = nn.LayerNorm(size.width)
        self.mlp = MLP(size)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, causal: bool = True, visible: Tensor | None = None) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        x = x + self.drop(self.attn(self.ln_1(x), causal, visible))
        out: Tensor = x + self.drop(self.mlp(self.ln_2(x)))
        return out


class Transformer(nn.Module):
    """GPT-2 without a head: from tokens to a vector for each position.

    Made with weights that hold nothing yet: `initialise` draws GPT-2's, `components.models.weights` loads trained ones.
    With `recompute` set, training keeps no activations but those between blocks, and computes a block's again when its
    gradient is due (Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016).
    """

    def __init__(self, size: GPTSize, vocabulary: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.size = size
        self.vocabulary = vocabulary
        self.recompute = False
        self.wte = Embedding(vocabulary, size.width)
        self.wpe = Embedding(size.context, size.width)
        self.drop = nn.Dropout(dropout)
        self.h = nn.ModuleList([Block(size, dropout) for _ in range(size.layers)])
        self.ln_f = nn.LayerNorm(size.width)

    def forward(
        self,
        tokens: Tensor,
        causal: bool = True,
        visible: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """Return the final, normalised hidden states: (B, T) int64 to (B, T, D).

        Not `causal`, every position sees the whole row; or of it what `visible` says, to all alike (B, T) or to each
        its own (B, T, T). `positions` (B, T) are the tokens' places in their texts where these do not all begin in
        column 0.

        Raises:
            ConfigError: if T exceeds the context.
        """
        length = tokens.shape[1]
        if length > self.size.context:
            context = self.size.context
            raise ConfigError(f"{length} tokens do not fit a context of {context}; set max_length to {context} or less")
        if positions is None:
            positions = torch.arange(length, device=tokens.device)
        mask = None if causal or visible is None else _over_heads(visible)
        x = self.drop(self.wte(tokens) + self.wpe(positions))
        for block in self.h:
            if self.recompute and torch.is_grad_enabled():
                x = checkpoint(block, x, causal, mask, use_reentrant=False)
            else:
                x = block(x, causal, mask)
        hidden: Tensor = self.ln_f(x)
        return hidden

    def initialise(self, seed: int) -> None:
        """Draw weights as GPT-2 did: N(0, 0.02), residual projections divided by sqrt(2 * layers), zero biases."""
        residual_std = INITIAL_STD / math.sqrt(2 * self.size.layers)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif "ln_" in name:
                nn.init.ones_(parameter)
            else:
                draw(parameter, residual_std if name.endswith("c_proj.weight") else INITIAL_STD, seed, name)


def _over_heads(visible: Tensor) -> Tensor:
    """(B, T) to (B, 1, 1, T), the same for all heads and queries; (B, T, T) to (B, 1, T, T)."""
    return visible[:, None, None, :] if visible.dim() == 2 else visible[:, None]


class GPT(nn.Module):
    """GPT-2 as a language model: a `Transformer` and a head that is the token embedding (tied) or its own (untied)."""

    def __init__(self, size: GPTSize, vocabulary: int, dropout: float = 0.0, tie_embeddings: bool = True) -> None:
        super().__init__()
        self.transformer = Transformer(size, vocabulary, dropout)
        self.lm_head = None if tie_embeddings else Linear(size.width, vocabulary, bias=False)

    @property
    def head(self) -> Tensor:
        """The weights (V, D) that make logits of hidden states."""
        return self.transformer.wte.weight if self.lm_head is None else self.lm_head.weight

    def hidden(self, tokens: Tensor) -> Tensor:
        """Return the hidden states that the head reads: (B, T) to (B, T, D)."""
        states: Tensor = self.transformer(tokens)
        return states

    def forward(
        self,
        tokens: Tensor,
        causal: bool = True,
        visible: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """Return the logits of the token after each position: (B, T) to (B, T, V); the rest is `Transformer`'s.

        Raises:
            ConfigError: if T exceeds the context.
        """
        return F.linear(self.transformer(tokens, causal, visible, positions), self.head)

    def initialise(self, seed: int) -> None:
        """Draw weights as GPT-2 did; an untied head is drawn like the embedding."""
        self.transformer.initialise(seed)
        if self.lm_head is not None:
            draw(self.lm_head.weight, INITIAL_STD, seed, "lm_head.weight")


def draw(parameter: Tensor, std: float, seed: int, name: str) -> None:
    """Fill a parameter from N(0, std), by a generator of its own.

    The generator depends on seed and name only, so that a parameter gets the same values on every device and
    whatever else the model has: tied or untied, language model or classifier.
    """
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}/{name}".encode()))
    values = torch.empty(parameter.shape, device="cpu").normal_(0.0, std, generator=generator)
    with torch.no_grad():
        parameter.copy_(values)
