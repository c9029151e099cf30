"""A language model: a network and a head that says how likely each token is to come next.

Shapes: B batch, T tokens, D width, V vocabulary.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from components.models.architecture import Transformer
from components.models.layers import INITIAL_STD, Linear, init_normal_


class LanguageModel(nn.Module):
    """A `Transformer` and a head that is the token embedding (tied) or its own (untied)."""

    def __init__(self, transformer: Transformer, tie_embeddings: bool = True) -> None:
        super().__init__()
        transformer.size.check_writes()
        self.transformer = transformer
        width, vocab_size = transformer.size.width, transformer.vocab_size
        self.lm_head = None if tie_embeddings else Linear(width, vocab_size, bias=False)

    @property
    def head(self) -> Tensor:
        """The weights (V, D) that make logits of hidden states."""
        return self.transformer.embedding.weight if self.lm_head is None else self.lm_head.weight

    def hidden(self, tokens: Tensor) -> Tensor:
        """Return the hidden states that the head reads: (B, T) to (B, T, D)."""
        states: Tensor = self.transformer(tokens)
        return states

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits of the token after each position: (B, T) to (B, T, V).

        Raises:
            ConfigError: if T exceeds the context.
        """
        return F.linear(self.hidden(tokens), self.head)

    def initialise(self, seed: int) -> None:
        """Draw weights as the network's family does; an untied head is drawn like the embedding."""
        self.transformer.initialise(seed)
        if self.lm_head is not None:
            init_normal_(self.lm_head.weight, INITIAL_STD, seed, "lm_head.weight")
