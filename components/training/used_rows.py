"""Training without the rows of the token embedding that no text needs.

A token that never occurs has no gradient: all that AdamW does to its row is weight decay, a factor a step, which can be
applied at the end. Of GPT-2's 50,257 rows, a third of its parameters, some thousand short messages use a tenth.
"""

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.models.architecture import Transformer
from components.models.fast import uses
from components.models.layers import Embedding, replace
from components.training.batching import TokenRows
from components.training.config import Recipe
from components.training.history import Step

WORTHWHILE = 0.5
"""Share of the vocabulary in use above which there is little to save."""


class UsedRows(Embedding):
    """The rows of `whole` that stand for the tokens `used` (U, sorted); other tokens have none."""

    place: Tensor

    def __init__(self, whole: nn.Embedding, used: Tensor) -> None:
        super().__init__(len(used), whole.embedding_dim, device=whole.weight.device)
        self.weight.data.copy_(whole.weight.data[used])
        self.weight.requires_grad_(whole.weight.requires_grad)
        self.used = used
        self.whole = [whole]  # a list, lest its rows are parameters, too
        place = torch.full((whole.num_embeddings,), -1, device=used.device)
        place[used] = torch.arange(len(used), device=used.device)
        self.register_buffer("place", place, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Look up rows: int64 of any shape to (..., D). A token that is not used is an `IndexError`."""
        return F.embedding(self.place[tokens], self.weight)

    def put_back(self, decay: float) -> nn.Embedding:
        """Return the whole embedding with these rows as they are now, and all others multiplied by `decay`."""
        whole = self.whole[0]
        with torch.no_grad():
            whole.weight.mul_(decay)
            whole.weight[self.used] = self.weight
        return whole


def keep_used_rows(transformer: Transformer, texts: Iterable[TokenRows], pad_id: int) -> None:
    """Leave `transformer` only the embedding rows of these texts and of padding, if all rows train and few are used."""
    ids = torch.cat([torch.tensor([pad_id]), *(torch.from_numpy(each.ids) for each in texts)])
    whole = transformer.embedding
    used = torch.unique(ids.long()).to(whole.weight.device)
    if uses("used rows") and whole.weight.requires_grad and len(used) < WORTHWHILE * transformer.vocab_size:
        replace(transformer, transformer.names.embedding, UsedRows(whole, used))


def put_rows_back(transformer: Transformer, config: Recipe, steps: Iterable[Step]) -> None:
    """Give `transformer` all its rows again; those that were left out decay as AdamW would have had them in `steps`."""
    if isinstance(transformer.embedding, UsedRows):
        decay = math.prod(1 - step.learning_rate * config.weight_decay for step in steps)
        replace(transformer, transformer.names.embedding, transformer.embedding.put_back(decay))
