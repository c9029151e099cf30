"""BERT (Devlin et al. 2019), and what has its shape: MiniLM (Wang et al. 2020), RoBERTa (Liu et al. 2019), XLM-R.

Learned positions, and layer norms after attention and feed-forward network, on what these have been added to.
Parameters carry the names that Hugging Face's `transformers` gives them.
Shapes: B batch, T tokens, D width, H heads, d width of a head.
"""

from dataclasses import replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.models.architecture import Attend, Block, Transformer, WeightNames
from components.models.encoders.sizes import BertSize, EncoderSize, RobertaSize
from components.models.layers import Embedding, Linear, init_weights_
from components.models.sizes import AnySize


class Embeddings(nn.Module):
    """What stands for a token at a position, normalised."""

    def __init__(self, size: BertSize, vocab_size: int, positions: int) -> None:
        super().__init__()
        self.word_embeddings = Embedding(vocab_size, size.width)
        self.position_embeddings = Embedding(positions, size.width)
        self.token_type_embeddings = Embedding(size.token_types, size.width)
        self.LayerNorm = nn.LayerNorm(size.width, size.norm_epsilon)

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Int64 of shapes that broadcast to (..., D)."""
        summed = self.word_embeddings(tokens) + self.position_embeddings(positions)
        embedded: Tensor = self.LayerNorm((summed + self.token_type_embeddings.weight[0]).float())
        return embedded


class Projections(nn.Module):
    """What makes queries, keys and values."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (Linear(width, width) for _ in range(3))


class Output(nn.Module):
    """The layer whose result is added to what came in, and the norm of the sum."""

    def __init__(self, inside: int, size: EncoderSize) -> None:
        super().__init__()
        self.dense = Linear(inside, size.width)
        self.LayerNorm = nn.LayerNorm(size.width, size.norm_epsilon)


class Attention(nn.Module):
    """The layers before and after self-attention."""

    def __init__(self, size: EncoderSize) -> None:
        super().__init__()
        self.self = Projections(size.width)
        self.output = Output(size.width, size)


class Intermediate(nn.Module):
    """The first layer of the feed-forward network."""

    def __init__(self, size: EncoderSize) -> None:
        super().__init__()
        self.dense = Linear(size.width, size.mlp_width)


class Pooler(nn.Module):
    """What BERT makes of the first token for a classifier."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D) to (B, D)."""
        return torch.tanh(self.dense(x))


class BertBlock(Block):
    """A block of BERT."""

    def __init__(self, size: EncoderSize, dropout: float) -> None:
        super().__init__(dropout)
        self.heads = size.heads
        self.attention = Attention(size)
        self.intermediate = Intermediate(size)
        self.output = Output(size.mlp_width, size)

    def norms(self) -> tuple[nn.Module, nn.Module]:
        """Return what normalises after attention, and after the feed-forward network."""
        return self.attention.output.LayerNorm, self.output.LayerNorm

    def project(self, x: Tensor, positions: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ARG002 - x holds them
        """Return queries, keys and values, (B, H, T, d) each, of the input (B, T, D)."""
        layers = self.attention.self
        projected = (layer(x) for layer in (layers.query, layers.key, layers.value))
        query, key, value = (each.view(*x.shape[:2], self.heads, -1).transpose(1, 2) for each in projected)
        return query, key, value

    def merge(self, seen: Tensor) -> Tensor:
        """Return what attention adds, (B, T, D), of what each head has seen, (B, H, T, d)."""
        merged: Tensor = self.attention.output.dense(seen.transpose(1, 2).flatten(2))
        return merged

    def feed(self, x: Tensor) -> Tensor:
        """Return what the feed-forward network adds: (..., D) to (..., D)."""
        fed: Tensor = self.output.dense(F.gelu(self.intermediate.dense(x)))
        return fed

    def run(self, x: Tensor, attend: Attend, positions: Tensor | None) -> Tensor:
        """Return what the block makes of x, (B, T, D) to (B, T, D): norms come after, not before."""
        between, after = self.norms()
        x = between(x + self.drop(self.merge(attend(*self.project(x, positions)))))
        out: Tensor = after(x + self.drop(self.feed(x)))
        return out


class Encoder(nn.Module):
    """The list of blocks."""

    def __init__(self, size: BertSize, dropout: float) -> None:
        super().__init__()
        self.layer = nn.ModuleList([BertBlock(size, dropout) for _ in range(size.layers)])


class Bert(Transformer):
    """BERT without a head, but with the layer that pools for one."""

    name = "bert"
    shape: ClassVar[type[AnySize]] = BertSize
    size: BertSize
    attention: ClassVar[tuple[str, ...]] = (
        *(f"attention.self.{each}" for each in ("query", "key", "value")),
        "attention.output.dense",
    )
    feed_forward: ClassVar[tuple[str, ...]] = ("intermediate.dense", "output.dense")
    names = WeightNames(
        prefix="bert.",
        embedding="embeddings.word_embeddings",
        blocks="encoder.layer",
        final_norm="",
        others=("embeddings", "pooler"),
        optional="pooler.",
        buffers=("position_ids",),
        renamed={"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"},
        classifier="classifier",
    )

    def __init__(self, size: BertSize, vocab_size: int, dropout: float = 0.0, offset: int = 0) -> None:
        super().__init__(size, vocab_size, dropout)
        self.offset = offset
        self.embeddings = Embeddings(size, vocab_size, size.context + offset)
        self.encoder = Encoder(size, dropout)
        if self.names.optional:
            self.pooler = Pooler(size.width)

    def embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Return what stands for tokens at positions, fp32: int64 of shapes that broadcast to (..., D)."""
        embedded: Tensor = self.embeddings(tokens, positions + self.offset)
        return embedded

    def initialise(self, seed: int) -> None:
        """Draw weights as BERT did: N(0, 0.02), zero biases, norms of one."""
        init_weights_(self, seed, norm="LayerNorm")


class Roberta(Bert):
    """RoBERTa and XLM-R: BERT whose positions begin behind that of padding, and whose classifiers have no pooler."""

    name = "roberta"
    shape: ClassVar[type[BertSize]] = RobertaSize
    size: RobertaSize
    names = replace(Bert.names, prefix="roberta.", optional="", others=("embeddings",))

    def __init__(self, size: RobertaSize, vocab_size: int, dropout: float = 0.0) -> None:
        super().__init__(size, vocab_size, dropout, size.offset)
