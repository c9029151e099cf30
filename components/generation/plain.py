"""Rows of tokens read anew for each token that follows, by the network as it is: what `Reader` is held against.

Shapes: B rows, V vocabulary.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from components.generation.decoder import Decoder
from components.models.language_model import LanguageModel
from components.models.padding import pad


class PlainReader:
    """Does what `components.generation.cache.Reader` does, with no cache and no prepared weights."""

    def __init__(self, decoder: Decoder, rows: Sequence[list[int]]) -> None:
        """Read the rows, none of them empty or longer than the context. `logits` (B, V) are of what follows."""
        self.model, self.type = decoder.model, decoder.type
        self.rows = rows
        self.logits = self._read()

    def read(self, tokens: Tensor) -> Tensor:
        """Read the next token (B,) of each row, and return the logits of what follows it: (B, V)."""
        self.rows = [[*row, token] for row, token in zip(self.rows, tokens.tolist(), strict=True)]
        self.logits = self._read()
        return self.logits

    def keep(self, rows: Sequence[int]) -> None:
        """Forget all rows but these."""
        self.rows = [self.rows[row] for row in rows]

    def _read(self) -> Tensor:
        device = self.model.head.device
        with torch.autocast(device.type, self.type, enabled=self.type != torch.float32):
            return read_anew(self.model, self.rows)


@torch.inference_mode()
def read_anew(model: LanguageModel, rows: Sequence[Sequence[int]]) -> Tensor:
    """Return the logits (B, V) of what follows each row; of one beyond the context, the last tokens count."""
    context, device = model.transformer.size.context, model.head.device
    tokens, lengths = pad([row[-context:] for row in rows], 0)
    hidden = model.hidden(tokens.to(device))
    # Not the model's `forward`, whose logits of all positions take B x T x V numbers.
    return F.linear(hidden[torch.arange(len(tokens)), lengths - 1], model.head)
