"""What a family of networks says of itself, and which families there are.

A family is one file: a `Block` that names the parts of a block, and a `Transformer` that embeds tokens, names weights
and draws them. How parts make a block and blocks a network stands here, once. The other ways to run the same blocks
(`components.models.fast`, `components.generation.decoder`) run on these parts too, and know no family.
Shapes: B batch, T tokens, D width, H heads, K key-value heads, d width of a head, V vocabulary.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from components.core.errors import ConfigError
from components.models.attention import attend
from components.models.sizes import AnySize

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From queries (B, H, T, d), keys and values (B, K, T, d) of the tokens that a block reads to what these see, of
themselves and of whatever was read before: (B, H, T, d)."""


class Block(nn.Module, ABC):
    """Attention, then a feed-forward network, each on the normalised input and added to it (pre-norm residual).

    A family that does it in another order has a `run` of its own.
    A module within it may have a linear layer that only a GELU in its tanh form reads: `fused` maps the layer's name to
    that of the GELU, and the two are computed as one where that is faster. So are linear layers that read the same:
    `together` holds their names, in the order in which they are asked. With a `window` a token sees so many, itself
    and those right before it.
    """

    def __init__(self, dropout: float, window: int | None = None) -> None:
        super().__init__()
        self.dropout = dropout
        self.window = window
        self.drop = nn.Dropout(dropout)

    @abstractmethod
    def norms(self) -> tuple[nn.Module, nn.Module]:
        """Return what normalises the input of attention, and that of the feed-forward network."""

    @abstractmethod
    def project(self, x: Tensor, positions: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries (B, H, T, d), keys and values (B, K, T, d) of the normalised input (B, T, D).

        `positions`, (T,) or (B, T), are the tokens' places in their texts; None stands for 0, 1, 2 ...
        """

    @abstractmethod
    def merge(self, seen: Tensor) -> Tensor:
        """Return what attention adds, (B, T, D), of what each head has seen, (B, H, T, d)."""

    @abstractmethod
    def feed(self, x: Tensor) -> Tensor:
        """Return what the feed-forward network adds: (..., D) to (..., D)."""

    def run(self, x: Tensor, attend: Attend, positions: Tensor | None) -> Tensor:
        """Return what the block makes of x, (B, T, D) to (B, T, D), where tokens look around by `attend`."""
        before, between = self.norms()
        x = x + self.drop(self.merge(attend(*self.project(before(x), positions))))
        out: Tensor = x + self.drop(self.feed(between(x)))
        return out

    def forward(
        self, x: Tensor, causal: bool = True, visible: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        """(B, T, D) to (B, T, D): each sees itself and those before it, or, not causal, `visible`."""

        def look(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            dropout = self.dropout if self.training else 0.0
            return attend(query, key, value, causal, visible, dropout, self.window)

        return self.run(x, look, positions)

    def at_position(self, x: Tensor, place: Tensor, seen: Tensor) -> Tensor:
        """Return what the block, without dropout, makes of position `place` (B,) of x (B, T, D): (B, D), fp32.

        That position sees `seen` (B, T). A family that need not compute the others for it does not.
        """
        positions = torch.arange(x.shape[1], device=x.device)
        whole: Tensor = self(x.float(), False, seen[:, None, None], positions)
        return whole[torch.arange(len(x), device=x.device), place]


@dataclass(frozen=True)
class WeightNames:
    """What parts of a network are called, in memory and in files of `transformers`."""

    prefix: str
    """What the names of a network's parameters begin with in files of models that have a head."""
    embedding: str
    """The token embedding."""
    blocks: str
    """The list of blocks."""
    final_norm: str
    """The norm after the last block; empty where there is none."""
    others: tuple[str, ...] = ()
    """What else there is beside the blocks."""
    transposed: tuple[str, ...] = ()
    """How the names of weights end that files hold transposed."""
    buffers: tuple[str, ...] = ()
    """How the names of tensors end that lie in files and are no weights."""
    optional: str = ""
    """How the names of weights begin that files may lack: they are drawn then."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """How names ended in files of earlier years, and how they end now."""
    classifier: str = "score"
    """What `transformers` calls a classifier's head."""

    @property
    def parts(self) -> tuple[str, ...]:
        """How the names of a network's parameters begin."""
        return tuple(f"{name}." for name in (self.embedding, self.blocks, self.final_norm, *self.others) if name)

    def short(self, name: str) -> str:
        """Return what a network calls a tensor of a file."""
        name = name.removeprefix(self.prefix)
        return next((name.removesuffix(old) + new for old, new in self.renamed.items() if name.endswith(old)), name)


class Transformer(nn.Module, ABC):
    """A network without a head: from tokens to a vector for each position.

    Made with weights that hold nothing yet: `initialise` draws some, `components.models.weights` loads trained ones.
    With `recompute` set, training keeps no activations but those between blocks, and computes a block's again when its
    gradient is due (Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016).
    """

    name: ClassVar[str]
    """What the family is called."""
    shape: ClassVar[type[AnySize]]
    """The type of its sizes."""
    names: ClassVar[WeightNames]
    attention: ClassVar[tuple[str, ...]]
    """The linear layers of a block's attention, by their names in it: they may get adapters."""
    feed_forward: ClassVar[tuple[str, ...]]
    """Those of its feed-forward network."""
    in_rows_only: ClassVar[bool] = False
    """Whether attention needs more than queries, keys and values, so that padding has to be computed, too."""
    head_bias: ClassVar[bool] = True
    """Whether the head of a new classifier has a bias; `transformers` has no place for one after a norm without."""
    pooler: nn.Module | None
    """What a classifier that pools `cls` makes of the first token's state, (B, D) to (B, D), if there is such."""

    def __init__(self, size: AnySize, vocab_size: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.size = size
        self.vocab_size = vocab_size
        self.recompute = False
        self.pooler = None
        self.drop = nn.Dropout(dropout)

    @abstractmethod
    def embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Return what stands for tokens at positions, fp32: int64 of shapes that broadcast to (..., D)."""

    @abstractmethod
    def initialise(self, seed: int) -> None:
        """Draw weights as the family does."""

    @property
    def embedding(self) -> nn.Embedding:
        """The token embedding, V x D."""
        found: nn.Embedding = attrgetter(self.names.embedding)(self)
        return found

    @property
    def blocks(self) -> list[Block]:
        """The blocks, first to last."""
        return list(attrgetter(self.names.blocks)(self))

    @property
    def final_norm(self) -> nn.Module:
        """The norm after the last block, or what leaves states as they are."""
        found: nn.Module = attrgetter(self.names.final_norm)(self) if self.names.final_norm else nn.Identity()
        return found

    @property
    def window(self) -> int | None:
        """How many tokens one sees at least; None: all before it."""
        return min((block.window for block in self.blocks if block.window), default=None)

    def forward(
        self,
        tokens: Tensor,
        causal: bool = True,
        visible: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """Return the final, normalised hidden states: (B, T) int64 to (B, T, D).

        Not `causal`, or in an encoder, every position sees the whole row; or of it what `visible` says, to all alike
        (B, T) or to each its own (B, T, T). `positions` (B, T) are the tokens' places in their texts where these do
        not all begin in column 0.

        Raises:
            ConfigError: if T exceeds the context.
        """
        length = tokens.shape[1]
        if length > self.size.context:
            context = self.size.context
            raise ConfigError(f"{length} tokens do not fit a context of {context}; set max_length to {context} or less")
        if positions is None:
            positions = torch.arange(length, device=tokens.device)
        causal = causal and not self.size.is_encoder
        mask = None if causal or visible is None else _over_heads(visible)

        def step(block: Block, x: Tensor) -> Tensor:
            out: Tensor = block(x, causal, mask, positions)
            return out

        return self.pass_through(self.drop(self.embed(tokens, positions)), step)

    def pass_through(self, x: Tensor, step: Callable[[Block, Tensor], Tensor]) -> Tensor:
        """Return the normalised states after all blocks, each of which `step` lets make something of x."""
        for block in self.blocks:
            if self.recompute and torch.is_grad_enabled():
                x = checkpoint(step, block, x, use_reentrant=False)
            else:
                x = step(block, x)
        hidden: Tensor = self.final_norm(x)
        return hidden

    def products(self) -> int:
        """Return how many weights the blocks multiply each token with; adapters do not count."""
        layers = (layer for block in self.blocks for layer in block.modules() if isinstance(layer, nn.Linear))
        return sum(layer.weight.numel() for layer in layers)


def _over_heads(visible: Tensor) -> Tensor:
    """(B, T) to (B, 1, 1, T), the same for all heads and queries; (B, T, T) to (B, 1, T, T)."""
    return visible[:, None, None, :] if visible.dim() == 2 else visible[:, None]


def architectures() -> dict[str, type[Transformer]]:
    """Return the families that there are by their names: a new one is a file and a place here."""
    from components.models.encoders.bert import Bert, Roberta
    from components.models.encoders.deberta import Deberta
    from components.models.encoders.modernbert import ModernBert
    from components.models.gpt2 import GPT2
    from components.models.llama import Llama

    return {family.name: family for family in (GPT2, Llama, Bert, Roberta, ModernBert, Deberta)}


def make_network(size: AnySize, vocab_size: int, dropout: float = 0.0) -> Transformer:
    """Return a network of a size, of the family that has such sizes; its weights hold nothing yet."""
    (family,) = (each for each in architectures().values() if each.shape is type(size))
    return family(size, vocab_size, dropout)


def transformer_of(model: nn.Module) -> Transformer:
    """Return the network in a language model or a classifier, or the one that is given."""
    found = model if isinstance(model, Transformer) else model.get_submodule("transformer")
    assert isinstance(found, Transformer)
    return found
