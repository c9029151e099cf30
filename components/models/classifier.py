"""A network that classifies: no language-model head, but a linear layer on what it says of a text.

Shapes: B batch, T tokens, D width, C classes, N texts.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from components.models.architecture import Transformer
from components.models.config import PADDING_IS_READ, Pooling
from components.models.fast.unpadded import hidden_states, places_to_compute
from components.models.layers import INITIAL_STD, init_normal_
from components.models.padding import pad


class Classifier(nn.Module):
    """A `Transformer` and a linear head from one pooled hidden state to C classes."""

    def __init__(
        self,
        transformer: Transformer,
        classes: int,
        pooling: Pooling | None = None,
        seed: int = 0,
        causal: bool = True,
        bias: bool | None = None,
    ) -> None:
        super().__init__()
        self.transformer = transformer
        self.pooling: Pooling = pooling or transformer.size.pooling
        self.causal = causal and not transformer.size.is_encoder
        if self.pooling != "cls" and transformer.pooler is not None:
            del transformer.pooler
            transformer.pooler = None  # what nothing reads cannot train
        self.head = nn.Linear(transformer.size.width, classes, transformer.head_bias if bias is None else bias)
        init_normal_(self.head.weight, INITIAL_STD, seed, "head.weight")
        if self.head.bias is not None:
            nn.init.zeros_(self.head.bias)

    def places(self, tokens: Tensor, lengths: Tensor) -> Tensor | None:
        """Return the positions that `forward` cannot do without (`components.models.fast.unpadded`), or None: all.

        A batch is on the CPU when this is asked.
        """
        can_skip = self.pooling not in PADDING_IS_READ and not self.transformer.in_rows_only
        return places_to_compute(lengths, tokens.shape[1]) if can_skip else None

    def forward(self, tokens: Tensor, lengths: Tensor, places: Tensor | None = None) -> Tensor:
        """Return logits (B, C) for tokens (B, T), of which the first `lengths` (B,) in each row are real.

        With the `places` that matter the others are not computed: the same logits, sooner.

        What pads a row does not change what is pooled from its real tokens: causal attention cannot see it, and
        attention that is not causal is kept from it. The poolings in `PADDING_IS_READ` take it for a part of the text.

        Raises:
            ConfigError: if T exceeds the context.
        """
        real = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]  # (B, T)
        visible = None if self.causal or self.pooling in PADDING_IS_READ else real
        if places is None:
            hidden = self.transformer(tokens, self.causal, visible)
        else:
            hidden = hidden_states(self.transformer, tokens, places, visible)
        return self.read(self._pool(hidden, lengths, real))

    def read(self, pooled: Tensor) -> Tensor:
        """Return logits (B, C) for what was pooled of each text (B, D)."""
        pooler = self.transformer.pooler
        logits: Tensor = self.head(pooled if pooler is None else pooler(pooled))
        return logits

    def _pool(self, hidden: Tensor, lengths: Tensor, real: Tensor) -> Tensor:
        """Return one state a text: (B, T, D) to (B, D)."""
        match self.pooling:
            case "last_token":
                return hidden[torch.arange(len(hidden), device=hidden.device), lengths - 1]
            case "first_token" | "cls":
                return hidden[:, 0]
            case "mean":
                return (hidden * real[:, :, None]).sum(dim=1) / lengths[:, None]
            case "last_position":
                return hidden[:, -1]
            case "mean_positions":
                return hidden.mean(dim=1)


def classify(
    model: Classifier, rows: Sequence[Sequence[int]], pad_id: int, length: int | None = None, batch_size: int = 32
) -> Tensor:
    """Return the logits (N, C) of tokenised texts, in their order: fp32, on the CPU. Softmax gives probabilities.

    Rows are padded to `length`, or, without it, to the longest of their batch, where rows of like length go together.
    Where padding is read (`PADDING_IS_READ`) and there is no `length` each text goes alone, so that no result depends
    on its neighbours.

    Raises:
        ConfigError: if a row exceeds the context.
        ValueError: if a row is longer than `length`.
    """
    device = model.head.weight.device
    order = range(len(rows)) if length else sorted(range(len(rows)), key=lambda index: len(rows[index]))
    size = 1 if model.pooling in PADDING_IS_READ and length is None else batch_size
    logits = torch.empty(len(rows), model.head.out_features)
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for start in range(0, len(rows), size):
                batch = order[start : start + size]
                tokens, lengths = pad([rows[index] for index in batch], pad_id, length)
                places = model.places(tokens, lengths)
                moved = [None if each is None else each.to(device) for each in (tokens, lengths, places)]
                logits[list(batch)] = model(*moved).float().cpu()
    finally:
        model.train(was_training)
    return logits
