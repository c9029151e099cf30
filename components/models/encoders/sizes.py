"""The shapes of encoders."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from components.core.errors import WeightsError
from components.models.shape import DividedSize

FAR, NEAR = "full_attention", "sliding_attention"
"""What `transformers` calls layers in which a token sees all others, and those in which it sees the ones nearby."""

OF_DEBERTA_V3 = {
    "conv_kernel_size": 0, "position_biased_input": False, "type_vocab_size": 0, "share_att_key": True,
    "pos_att_type": "c2p|p2c", "norm_rel_ebd": "layer_norm", "relative_attention": True,
}  # fmt: skip
"""What the options of DeBERTa are in v3, and in v2 but for its largest models."""
UNSAID_BY_DEBERTA = {
    "position_biased_input": True, "share_att_key": False, "norm_rel_ebd": "none", "relative_attention": False,
}  # fmt: skip
"""What `transformers` takes those for that a config leaves out, where that is something else."""


class EncoderSize(DividedSize):
    """What encoders of all families have."""

    is_encoder: ClassVar[bool] = True
    pooling: ClassVar[Literal["last_token", "mean"]] = "mean"

    mlp_width: int = Field(gt=0)
    """Length of the vector inside the feed-forward network."""
    norm_epsilon: float = Field(default=1e-12, gt=0)
    """What is added to a variance before its root is taken."""

    @property
    def products(self) -> int:
        """How many weights the blocks multiply each token with, at least: ModernBERT has half as many again."""
        return 2 * self.layers * self.width * (2 * self.width + self.mlp_width)

    @classmethod
    def common(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields that every family's `config.json` calls the same.

        Raises:
            KeyError: if it does not name one.
            WeightsError: if the activation is not known here, or tokens see only those before them.
        """
        activation = settings.get("hidden_act") or settings.get("hidden_activation", "gelu")
        if activation != "gelu":
            raise WeightsError(f"an encoder with {activation} is not known here, only with gelu")
        if settings.get("is_decoder"):
            raise WeightsError("an encoder with is_decoder=true is not known here, only with tokens that see all")
        return {
            "layers": settings["num_hidden_layers"],
            "heads": settings["num_attention_heads"],
            "width": settings["hidden_size"],
            "context": settings["max_position_embeddings"],
            "mlp_width": settings["intermediate_size"],
        }


class BertSize(EncoderSize):
    """The shape of a BERT."""

    token_types: int = Field(gt=0)
    """Kinds of tokens that the embedding tells apart; of a text alone all are of the first."""

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """Return the shape that a model's `config.json` describes.

        Raises:
            KeyError, WeightsError: as `common`; also of positions that are not learnt.
        """
        if (kind := settings.get("position_embedding_type", "absolute")) != "absolute":
            raise WeightsError(f"an encoder with positions of type {kind} is not known here, only absolute")
        return cls(**cls._own(settings))

    @classmethod
    def _own(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        own = {"norm_epsilon": settings.get("layer_norm_eps", 1e-12), "token_types": settings["type_vocab_size"]}
        return cls.common(settings) | own


class DebertaSize(EncoderSize):
    """The shape of a DeBERTa v2 or v3."""

    buckets: int = Field(gt=1)
    """Kinds of distances that are told apart in each direction."""
    farthest: int = Field(gt=1)
    """The distance from which on all are of one kind."""

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """Return the shape that a model's `config.json` describes.

        Raises:
            KeyError, WeightsError: as `common`; also of options that v3 has not.
        """
        asked = settings.get("pos_att_type") or ()
        kinds = {each.strip().lower() for each in (asked.split("|") if isinstance(asked, str) else asked)}
        has = {**UNSAID_BY_DEBERTA, **settings, "pos_att_type": "|".join(sorted(kinds))}
        for name, wanted in OF_DEBERTA_V3.items():
            if (value := has.get(name, wanted)) != wanted:
                raise WeightsError(f"a DeBERTa with {name}={value} is not known here, only with {wanted}")
        farthest = settings.get("max_relative_positions", -1)
        return cls(
            **cls.common(settings),
            norm_epsilon=settings.get("layer_norm_eps", 1e-7),
            buckets=settings["position_buckets"],
            farthest=farthest if farthest > 0 else settings["max_position_embeddings"],
        )


class ModernBertSize(EncoderSize):
    """The shape of a ModernBERT or an Ettin."""

    rope_base: float = Field(gt=0)
    """Base of the rotary positions where a token sees all others."""
    local_rope_base: float = Field(gt=0)
    """The same in `local` layers."""
    window: int = Field(gt=0)
    """In `local` layers a token sees those up to half as many places away."""
    local: tuple[int, ...] = ()
    """Layers, from 0, in which a token sees those nearby only."""
    norm_bias: bool = False
    """Whether norms have biases."""
    attention_bias: bool = False
    """Whether the layers before and after attention have."""
    mlp_bias: bool = False
    """Whether the layers of the feed-forward network have."""

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """Return the shape that a model's `config.json` describes, in the words of this or of earlier years.

        Raises:
            KeyError, WeightsError: as `common`; also of rotary positions that are stretched.
        """
        layers, every = settings["num_hidden_layers"], settings.get("global_attn_every_n_layers", 3)
        kinds = settings.get("layer_types") or [FAR if layer % every == 0 else NEAR for layer in range(layers)]
        base = settings.get("global_rope_theta", 160_000.0)
        bases = {FAR: base, NEAR: settings.get("local_rope_theta", 10_000.0) or base}
        for kind, rope in (settings.get("rope_parameters") or {}).items():
            if (scaling := rope.get("rope_type", "default")) != "default":
                raise WeightsError(f"an encoder with rotary positions of type {scaling} is not known here")
            bases[kind] = rope["rope_theta"]
        own = {name: settings.get(name, False) for name in ("norm_bias", "attention_bias", "mlp_bias")}
        return cls(
            **cls.common(settings),
            **own,
            norm_epsilon=settings.get("norm_eps", 1e-5),
            rope_base=bases[FAR],
            local_rope_base=bases[NEAR],
            window=settings.get("local_attention", 128),
            local=tuple(layer for layer, kind in enumerate(kinds) if kind == NEAR),
        )


class RobertaSize(BertSize):
    """The shape of a RoBERTa or an XLM-R, whose positions are counted from behind that of padding."""

    offset: int = Field(gt=0)
    """The position of the first token; those before stand for padding."""

    @classmethod
    def _own(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        if (padding := settings.get("pad_token_id", 1)) is None:
            raise KeyError("pad_token_id")
        own, offset = super()._own(settings), padding + 1
        return own | {"offset": offset, "context": own["context"] - offset}
