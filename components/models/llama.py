"""The Llama family: Llama 2 and 3 (Touvron et al. 2023, Dubey et al. 2024), SmolLM2, Mistral, Qwen2.5, Qwen3.

Rotary positions, RMS norms before attention and feed-forward network, key-value heads shared by several heads of
queries, SwiGLU. Which layers have biases, whether queries and keys are normalised, and whether attention has a window
is a matter of shape. Parameters carry the names that Hugging Face's `transformers` gives them.
Shapes: B batch, T tokens, D width, H heads, K key-value heads, d width of a head.
"""

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.models.architecture import Block, Transformer, WeightNames
from components.models.layers import Embedding, Linear, init_weights_
from components.models.sizes import LlamaSize, Rope


class Rotary:
    """Turns queries and keys by their positions, so that they see how far apart they are.

    Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021. All blocks share one: the
    angles of the positions that were asked for last are kept.
    """

    def __init__(self, rope: Rope, head_width: int) -> None:
        self.frequencies, self.scale = frequencies(rope, head_width), rope.attention_factor
        self._kept: tuple[Tensor, torch.dtype, tuple[Tensor, Tensor]] | None = None

    def turns(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return cosines and sines of positions (T,) or (B, T): (T, d / 2), or (B, 1, T, d / 2), which heads share."""
        kept = self._kept  # taken once: another thread may ask for other positions meanwhile
        if torch.compiler.is_compiling() or kept is None or kept[0] is not positions or kept[1] != dtype:
            angles = positions[..., None].float() * self.frequencies.to(positions.device)
            angles = angles if positions.dim() == 1 else angles[:, None]
            turns = (angles.cos() * self.scale).to(dtype), (angles.sin() * self.scale).to(dtype)
            kept = self._kept = positions, dtype, turns
        return kept[2]


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn pairs of x (B, H, T, d), of which one half stands in the first half of d and one in the second."""
    one, other = x.chunk(2, dim=-1)
    return torch.cat([one * cos - other * sin, other * cos + one * sin], dim=-1)


def frequencies(rope: Rope, head_width: int) -> Tensor:
    """Return by what angle a pair of a head's numbers turns from one position to the next: (d / 2,), fp32."""
    pairs = torch.arange(0, head_width, 2, dtype=torch.int64).float() / head_width
    plain = 1.0 / rope.base**pairs
    if rope.factors:
        plain = plain / torch.tensor(rope.factors)
    match rope.scaling:
        case "linear":
            return plain / rope.factor
        case "llama3":
            turns = _trained(rope) * plain / (2 * math.pi)
            low, high = rope.low_freq_factor, rope.high_freq_factor
            kept = ((turns - low) / (high - low)).clamp(0, 1)
        case "yarn":
            bounds = [_pair_that_turns(times, rope, head_width) for times in (rope.beta_fast, rope.beta_slow)]
            if rope.truncate:
                bounds = [math.floor(bounds[0]), math.ceil(bounds[1])]
            first, last = max(bounds[0], 0), min(bounds[1], head_width - 1)
            last += 0.001 if first == last else 0  # so that nothing is divided by zero
            kept = 1 - ((torch.arange(head_width // 2) - first) / (last - first)).clamp(0, 1)
        case _:
            return plain
    return plain / rope.factor * (1 - kept) + plain * kept


def _trained(rope: Rope) -> int:
    assert rope.trained is not None
    return rope.trained


def _pair_that_turns(times: float, rope: Rope, head_width: int) -> float:
    """Return which pair turns so many times in the context of the training."""
    return head_width * math.log(_trained(rope) / (times * 2 * math.pi)) / (2 * math.log(rope.base))


class Attention(nn.Module):
    """The layers before and after self-attention."""

    together = (("q_proj", "k_proj", "v_proj"),)

    def __init__(self, size: LlamaSize) -> None:
        super().__init__()
        queries, keys = size.heads * size.head_width, size.kv_heads * size.head_width
        self.q_proj = Linear(size.width, queries, size.qkv_bias)
        self.k_proj = Linear(size.width, keys, size.qkv_bias)
        self.v_proj = Linear(size.width, keys, size.qkv_bias)
        self.o_proj = Linear(queries, size.width, size.output_bias)
        if size.qk_norm:
            self.q_norm = nn.RMSNorm(size.head_width, size.norm_epsilon)
            self.k_norm = nn.RMSNorm(size.head_width, size.norm_epsilon)


class MLP(nn.Module):
    """The layers of the feed-forward half: SwiGLU (Shazeer, "GLU Variants Improve Transformer", 2020)."""

    together = (("gate_proj", "up_proj"),)

    def __init__(self, size: LlamaSize) -> None:
        super().__init__()
        self.gate_proj = Linear(size.width, size.mlp_width, size.mlp_bias)
        self.up_proj = Linear(size.width, size.mlp_width, size.mlp_bias)
        self.down_proj = Linear(size.mlp_width, size.width, size.mlp_bias)


class LlamaBlock(Block):
    """A block of the Llama family."""

    def __init__(self, size: LlamaSize, dropout: float, rotary: Rotary, window: int | None) -> None:
        super().__init__(dropout, window)
        self.head_width, self.qk_norm = size.head_width, size.qk_norm
        self.rotary = rotary
        self.input_layernorm = nn.RMSNorm(size.width, size.norm_epsilon)
        self.self_attn = Attention(size)
        self.post_attention_layernorm = nn.RMSNorm(size.width, size.norm_epsilon)
        self.mlp = MLP(size)

    def norms(self) -> tuple[nn.Module, nn.Module]:
        """Return what normalises the input of attention, and that of the feed-forward network."""
        return self.input_layernorm, self.post_attention_layernorm

    def project(self, x: Tensor, positions: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries (B, H, T, d), keys and values (B, K, T, d) of the normalised input (B, T, D)."""
        layers = self.self_attn
        query, key, value = (
            layer(x).view(*x.shape[:2], -1, self.head_width) for layer in (layers.q_proj, layers.k_proj, layers.v_proj)
        )
        if self.qk_norm:
            query, key = layers.q_norm(query.float()).to(query.dtype), layers.k_norm(key.float()).to(key.dtype)
        if positions is None:
            positions = torch.arange(x.shape[1], device=x.device)
        heads = torch.cat([query, key], dim=2).transpose(1, 2)  # (B, H + K, T, d): turned at once
        heads = turned(heads, *self.rotary.turns(positions, query.dtype))
        last = query.shape[2]
        return heads[:, :last], heads[:, last:], value.transpose(1, 2)

    def merge(self, seen: Tensor) -> Tensor:
        """Return what attention adds, (B, T, D), of what each head has seen, (B, H, T, d)."""
        merged: Tensor = self.self_attn.o_proj(seen.transpose(1, 2).flatten(2))
        return merged

    def feed(self, x: Tensor) -> Tensor:
        """Return what the feed-forward network adds: (..., D) to (..., D)."""
        mlp = self.mlp
        fed: Tensor = mlp.down_proj(F.silu(mlp.gate_proj(x)) * mlp.up_proj(x))
        return fed


class Llama(Transformer):
    """A network of the Llama family without a head."""

    name = "llama"
    shape = LlamaSize
    size: LlamaSize
    head_bias = False
    names = WeightNames(
        prefix="model.", embedding="embed_tokens", blocks="layers", final_norm="norm", buffers=("rotary_emb.inv_freq",)
    )
    attention: ClassVar[tuple[str, ...]] = tuple(f"self_attn.{each}_proj" for each in "qkvo")
    feed_forward: ClassVar[tuple[str, ...]] = tuple(f"mlp.{each}_proj" for each in ("gate", "up", "down"))

    def __init__(self, size: LlamaSize, vocab_size: int, dropout: float = 0.0) -> None:
        super().__init__(size, vocab_size, dropout)
        rotary = Rotary(size.rope, size.head_width)
        self.embed_tokens = Embedding(vocab_size, size.width)
        windows = [size.window if layer in size.windowed else None for layer in range(size.layers)]
        self.layers = nn.ModuleList([LlamaBlock(size, dropout, rotary, window) for window in windows])
        self.norm = nn.RMSNorm(size.width, size.norm_epsilon)

    def embed(self, tokens: Tensor, positions: Tensor) -> Tensor:  # noqa: ARG002 - blocks turn by positions
        """Return what stands for tokens, fp32: int64 (...) to (..., D)."""
        embedded: Tensor = self.embed_tokens(tokens).float()
        return embedded

    def initialise(self, seed: int) -> None:
        """Draw weights as `transformers` does: N(0, 0.02), zero biases, norms of one."""
        init_weights_(self, seed, norm="norm")
