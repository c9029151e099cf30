"""What shapes of networks of all families have in common."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from components.core.config import Config
from components.core.errors import ConfigError

MOST_LAYERS = 1_000
"""Of a network whose config is believed: more would take minutes to be made, before it is seen what they are."""


class Size(Config):
    """What networks of all families have."""

    is_encoder: ClassVar[bool] = False
    """Whether a token sees those after it as well: such a network reads texts and writes none."""
    pooling: ClassVar[Literal["last_token", "mean"]] = "last_token"
    """What feeds a classifier, where a preset does not say."""

    layers: int = Field(gt=0, le=MOST_LAYERS)
    """Number of transformer blocks."""
    heads: int = Field(gt=0)
    """Attention heads in each block."""
    width: int = Field(gt=0)
    """Length of the vector that stands for a token, D."""
    context: int = Field(gt=0)
    """Most tokens the network can see at once."""

    @property
    def products(self) -> int:
        """How many weights the blocks multiply each token with: unless a family says otherwise, those of four
        projections and of a feed-forward network four times as wide."""
        return 12 * self.layers * self.width**2

    def check_writes(self) -> None:
        """Refuse an encoder where a language model is asked for.

        Raises:
            ConfigError: if it is one.
        """
        if self.is_encoder:
            raise ConfigError(
                "model.weights is an encoder, which reads texts and writes none: fine-tune it to classify, or name a "
                "language model"
            )


class DividedSize(Size):
    """A shape whose heads, of keys and values as many as of queries, share the width: `heads` must divide it."""

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values."""
        return self.heads

    @property
    def head_width(self) -> int:
        """Length of the vector that a head makes of a token, d."""
        return self.width // self.heads

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not divisible by heads {self.heads}")
        return self
