"""ModernBERT (Warner et al., "Smarter, Better, Faster, Longer", 2024), and Ettin (Weller et al. 2025).

Rotary positions, norms before attention and feed-forward network, GeGLU, and attention that in most layers sees only
tokens nearby. Parameters carry the names that Hugging Face's `transformers` gives them.
Shapes: B batch, T tokens, D width, H heads, d width of a head.
"""

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.models.architecture import Block, Transformer, WeightNames
from components.models.encoders.sizes import ModernBertSize
from components.models.layers import INITIAL_STD, Embedding, Linear, init_weights_
from components.models.llama import Rotary, turned
from components.models.sizes import Rope


def norm(size: ModernBertSize) -> nn.LayerNorm:
    """Return a layer norm as all of a network are."""
    return nn.LayerNorm(size.width, size.norm_epsilon, bias=size.norm_bias)


class Embeddings(nn.Module):
    """What stands for a token, normalised."""

    def __init__(self, size: ModernBertSize, vocab_size: int) -> None:
        super().__init__()
        self.tok_embeddings = Embedding(vocab_size, size.width)
        self.norm = norm(size)

    def forward(self, tokens: Tensor) -> Tensor:
        """Int64 (...) to (..., D)."""
        embedded: Tensor = self.norm(self.tok_embeddings(tokens).float())
        return embedded


class Attention(nn.Module):
    """The layers before and after self-attention."""

    def __init__(self, size: ModernBertSize) -> None:
        super().__init__()
        self.Wqkv = Linear(size.width, 3 * size.width, size.attention_bias)
        self.Wo = Linear(size.width, size.width, size.attention_bias)


class MLP(nn.Module):
    """The layers of the feed-forward half: GeGLU (Shazeer, "GLU Variants Improve Transformer", 2020)."""

    def __init__(self, size: ModernBertSize) -> None:
        super().__init__()
        self.Wi = Linear(size.width, 2 * size.mlp_width, size.mlp_bias)
        self.Wo = Linear(size.mlp_width, size.width, size.mlp_bias)


class ModernBertBlock(Block):
    """A block of ModernBERT; the `first` does not normalise what the embedding has."""

    def __init__(self, size: ModernBertSize, dropout: float, rotary: Rotary, window: int | None, first: bool) -> None:
        super().__init__(dropout, window)
        self.heads = size.heads
        self.rotary = rotary
        self.attn_norm = nn.Identity() if first else norm(size)
        self.attn = Attention(size)
        self.mlp_norm = norm(size)
        self.mlp = MLP(size)

    def norms(self) -> tuple[nn.Module, nn.Module]:
        """Return what normalises the input of attention, and that of the feed-forward network."""
        return self.attn_norm, self.mlp_norm

    def project(self, x: Tensor, positions: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values, (B, H, T, d) each, of the normalised input (B, T, D)."""
        projected = self.attn.Wqkv(x).view(*x.shape[:2], 3, self.heads, -1)
        query, key, value = projected.permute(2, 0, 3, 1, 4)
        if positions is None:
            positions = torch.arange(x.shape[1], device=x.device)
        turns = self.rotary.turns(positions, query.dtype)
        return turned(query, *turns), turned(key, *turns), value

    def merge(self, seen: Tensor) -> Tensor:
        """Return what attention adds, (B, T, D), of what each head has seen, (B, H, T, d)."""
        merged: Tensor = self.attn.Wo(seen.transpose(1, 2).flatten(2))
        return merged

    def feed(self, x: Tensor) -> Tensor:
        """Return what the feed-forward network adds: (..., D) to (..., D)."""
        inside, gate = self.mlp.Wi(x).chunk(2, dim=-1)
        fed: Tensor = self.mlp.Wo(F.gelu(inside) * gate)
        return fed


class ModernBert(Transformer):
    """ModernBERT without a head."""

    name = "modernbert"
    shape = ModernBertSize
    size: ModernBertSize
    attention: ClassVar[tuple[str, ...]] = ("attn.Wqkv", "attn.Wo")
    feed_forward: ClassVar[tuple[str, ...]] = ("mlp.Wi", "mlp.Wo")
    names = WeightNames(
        prefix="model.",
        embedding="embeddings.tok_embeddings",
        blocks="layers",
        final_norm="final_norm",
        others=("embeddings",),
        buffers=("inv_freq",),
        classifier="classifier",
    )

    def __init__(self, size: ModernBertSize, vocab_size: int, dropout: float = 0.0) -> None:
        super().__init__(size, vocab_size, dropout)
        far, near = (Rotary(Rope(base=base), size.head_width) for base in (size.rope_base, size.local_rope_base))
        self.embeddings = Embeddings(size, vocab_size)
        self.layers = nn.ModuleList(
            ModernBertBlock(size, dropout, near, size.window // 2 + 1, layer == 0)
            if layer in size.local
            else ModernBertBlock(size, dropout, far, None, layer == 0)
            for layer in range(size.layers)
        )
        self.final_norm = norm(size)  # type: ignore[misc]

    @property
    def final_norm(self) -> nn.Module:
        """The norm after the last block, which is called in files what it is called here."""
        found = vars(self).get("final_norm") or self._modules["final_norm"]
        assert found is not None
        return found

    def embed(self, tokens: Tensor, positions: Tensor) -> Tensor:  # noqa: ARG002 - blocks turn by positions
        """Return what stands for tokens, fp32: int64 (...) to (..., D)."""
        embedded: Tensor = self.embeddings(tokens)
        return embedded

    def initialise(self, seed: int) -> None:
        """Draw weights as ModernBERT's: N(0, 0.02), residual projections divided by sqrt(2 * layers), norms of one."""
        residual_std = INITIAL_STD / math.sqrt(2 * self.size.layers)
        init_weights_(self, seed, norm="norm", residual="Wo.weight", residual_std=residual_std)
