"""DeBERTa v2 and v3 (He et al., "DeBERTa: Decoding-enhanced BERT with Disentangled Attention", 2021; v3, 2023).

BERT's blocks, but a token is asked about by what it is and, apart from that, by how far away it is. Such scores are
more than a product of queries and keys, so attention is computed here, row by row, with padding.
Shapes: B batch, T tokens, D width, H heads, d width of a head, R kinds of distances.
"""

import math
from dataclasses import replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.models.encoders.bert import Bert, BertBlock, Output
from components.models.encoders.sizes import DebertaSize
from components.models.layers import Embedding, Linear


class Embeddings(nn.Module):
    """What stands for a token, normalised; positions are the blocks' business."""

    def __init__(self, size: DebertaSize, vocab_size: int) -> None:
        super().__init__()
        self.word_embeddings = Embedding(vocab_size, size.width)
        self.LayerNorm = nn.LayerNorm(size.width, size.norm_epsilon)

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:  # noqa: ARG002
        """Int64 (...) to (..., D)."""
        embedded: Tensor = self.LayerNorm(self.word_embeddings(tokens).float())
        return embedded


class Projections(nn.Module):
    """What makes queries, keys and values."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query_proj, self.key_proj, self.value_proj = (Linear(width, width) for _ in range(3))


class Attention(nn.Module):
    """The layers before and after self-attention."""

    def __init__(self, size: DebertaSize) -> None:
        super().__init__()
        self.self = Projections(size.width)
        self.output = Output(size.width, size)


class DebertaBlock(BertBlock):
    """A block of DeBERTa."""

    def __init__(self, size: DebertaSize, dropout: float, encoder: "Encoder") -> None:
        super().__init__(size, dropout)
        self.attention = Attention(size)  # type: ignore[assignment]
        self.shared = [encoder]  # a list, lest it becomes a part of every block

    def project(self, x: Tensor, positions: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ARG002
        """Return queries, keys and values, (B, H, T, d) each, of the input (B, T, D)."""
        layers: Projections = self.attention.self  # type: ignore[assignment]
        query, key, value = (self._heads(each(x)) for each in (layers.query_proj, layers.key_proj, layers.value_proj))
        return query, key, value

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def forward(
        self,
        x: Tensor,
        causal: bool = True,  # noqa: ARG002 - an encoder
        visible: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """(B, T, D) to (B, T, D): each sees what is `visible`."""
        encoder, length = self.shared[0], x.shape[1]

        def look(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            distances = self.drop(encoder.distances())[None]
            far_query, far_key, _ = self.project(distances, None)  # (1, H, R, d)
            kinds = encoder.kinds(length, x.device).expand(*query.shape[:2], -1, -1)
            by_query = (query @ far_key.mT).gather(-1, kinds)  # (B, H, T, T)
            by_key = (key @ far_query.mT).gather(-1, kinds.mT).mT
            scale = 1 / math.sqrt(3 * query.shape[-1])
            scores = (by_query + by_key) * scale
            if visible is not None:
                scores = scores.masked_fill(~visible, -torch.inf)
            dropout = self.dropout if self.training else 0.0
            return F.scaled_dot_product_attention(query, key, value, scores.to(query.dtype), dropout, scale=scale)

        return self.run(x, look, positions)


class Encoder(nn.Module):
    """The list of blocks, and what they share: what stands for distances."""

    def __init__(self, size: DebertaSize, dropout: float) -> None:
        super().__init__()
        self.buckets, self.farthest = size.buckets, size.farthest
        self.rel_embeddings = Embedding(2 * size.buckets, size.width)
        self.LayerNorm = nn.LayerNorm(size.width, size.norm_epsilon)
        self.layer = nn.ModuleList([DebertaBlock(size, dropout, self) for _ in range(size.layers)])

    def distances(self) -> Tensor:
        """Return what stands for each kind of distance: (R, D)."""
        found: Tensor = self.LayerNorm(self.rel_embeddings.weight)
        return found

    def kinds(self, length: int, device: torch.device) -> Tensor:
        """Return of which kind the distance is from each key to each query: (T, T), int64.

        Near ones are each of their own kind, far ones share kinds that grow as logarithms do.
        """
        place = torch.arange(length, device=device)
        away, near = place[:, None] - place, self.buckets // 2
        steps = (away.abs().clamp(min=near - 1) / near).log() / math.log((self.farthest - 1) / near) * (near - 1)
        kind = torch.where(away.abs() <= near, away, (steps.ceil() + near).long() * away.sign())
        return (kind + self.buckets).clamp(0, 2 * self.buckets - 1)


class Deberta(Bert):
    """DeBERTa without a head."""

    name = "deberta"
    shape = DebertaSize
    size: DebertaSize  # type: ignore[assignment]
    in_rows_only = True
    attention: ClassVar[tuple[str, ...]] = (
        *(f"attention.self.{each}_proj" for each in ("query", "key", "value")),
        "attention.output.dense",
    )
    names = replace(
        Bert.names,
        prefix="deberta.",
        optional="",
        others=("embeddings", "encoder"),
        buffers=("position_ids", "position_embeddings.weight"),
    )

    def __init__(self, size: DebertaSize, vocab_size: int, dropout: float = 0.0) -> None:
        super(Bert, self).__init__(size, vocab_size, dropout)
        self.offset = 0
        self.embeddings = Embeddings(size, vocab_size)  # type: ignore[assignment]
        self.encoder = Encoder(size, dropout)  # type: ignore[assignment]
