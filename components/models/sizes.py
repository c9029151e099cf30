"""The shapes of networks: a type for each family, and what `transformers` calls their fields in `config.json`."""

import math
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from components.core.config import Config
from components.core.errors import WeightsError
from components.models.encoders.sizes import BertSize, DebertaSize, ModernBertSize, RobertaSize
from components.models.shape import MOST_LAYERS, DividedSize, Size


class UnknownNetwork(WeightsError):
    """A model asks for something that no network here does."""


OF_GPT2: dict[str, tuple[Any, ...]] = {
    # Three names of the tanh form of GELU.
    "activation_function": ("gelu_new", "gelu_pytorch_tanh", "gelu_fast"),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
}
"""What the options of GPT-2 may be."""
GPT2_EPSILON = 1e-5


class GPTSize(DividedSize):
    """The shape of a GPT-2 network."""

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """Return the shape that a model's `config.json` describes.

        Raises:
            KeyError: if it does not name it.
            WeightsError: of options that OpenAI's models do not have.
        """
        for name, known in OF_GPT2.items():
            if (value := settings.get(name, known[0])) not in known:
                raise WeightsError(f"a GPT-2 with {name}={value} is not known here, only with {known[0]}")
        epsilon = settings.get("layer_norm_epsilon", GPT2_EPSILON)
        if not math.isclose(epsilon, GPT2_EPSILON, rel_tol=1e-3):
            raise WeightsError(f"a GPT-2 with layer_norm_epsilon={epsilon} is not known here, only with {GPT2_EPSILON}")
        names = {"layers": "n_layer", "heads": "n_head", "width": "n_embd", "context": "n_positions"}
        return cls(**{field: settings[name] for field, name in names.items()})


class Rope(Config):
    """Rotary positions (Su et al. 2021), and how they are stretched for a context longer than they were trained on."""

    base: float = Field(default=10_000.0, gt=0)
    """Base of the frequencies, called theta."""
    scaling: Literal["default", "linear", "llama3", "yarn"] = "default"
    """`linear` divides all frequencies, `llama3` the low ones, `yarn` low ones more than high ones (Peng et al. 2023).
    """
    factor: float = Field(default=1.0, gt=0)
    """By how much frequencies are divided."""
    trained: int | None = Field(default=None, gt=0)
    """Context of the training before they were stretched."""
    low_freq_factor: float = 1.0
    """`llama3`: frequencies with fewer turns than this in `trained` tokens are divided."""
    high_freq_factor: float = 4.0
    """`llama3`: frequencies with more turns than this stay."""
    beta_fast: float = 32.0
    """`yarn`: frequencies with more turns than this in `trained` tokens stay."""
    beta_slow: float = 1.0
    """`yarn`: frequencies with fewer turns than this are divided."""
    truncate: bool = True
    """`yarn`: whether the bounds between the two are rounded to whole dimensions."""
    factors: tuple[float, ...] = ()
    """What each frequency is divided by besides, as files of llama.cpp have it for Llama 3."""
    attention_factor: float = 1.0
    """`yarn`: what the rotated queries and keys are multiplied by."""

    @model_validator(mode="after")
    def _frequencies_differ(self) -> Self:
        if self.scaling == "yarn" and self.base <= 1:
            raise ValueError(f"yarn needs a base above 1, not {self.base:g}")
        return self

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """Return what a `config.json` says of rotary positions, in the words of this or of earlier years.

        Raises:
            WeightsError: if it is a scaling that is not known here.
        """
        given = dict(settings.get("rope_scaling") or settings.get("rope_parameters") or {})
        kind = str(given.get("rope_type", given.get("type", "default")))
        factors = given.get("long_factor")
        if kind == "longrope" and factors == given.get("short_factor") and given.get("attention_factor") == 1.0:
            return cls(base=given.get("rope_theta", settings.get("rope_theta", cls().base)), factors=factors)
        if kind not in ("default", "linear", "llama3", "yarn"):
            raise WeightsError(
                f"rotary positions of type {kind} are not known here, only default, linear, llama3, yarn"
            )
        if given.get("partial_rotary_factor", settings.get("partial_rotary_factor", 1.0)) != 1.0:
            raise WeightsError("rotary positions of a part of each head (partial_rotary_factor) are not known here")
        base = given.get("rope_theta", settings.get("rope_theta", cls().base))
        names = ("low_freq_factor", "high_freq_factor", "beta_fast", "beta_slow", "truncate")
        values = {name: given[name] for name in names if given.get(name) is not None}
        context = settings["max_position_embeddings"]
        trained = given.get("original_max_position_embeddings", context) if kind in ("llama3", "yarn") else None
        if kind == "yarn":
            values["attention_factor"] = _attention_factor(given, factor := given.get("factor", context / trained))
            return cls(base=base, scaling=kind, factor=factor, trained=trained, **values)
        return cls(base=base, scaling=kind, factor=given.get("factor", 1.0), trained=trained, **values)


def _attention_factor(given: Mapping[str, Any], factor: float) -> float:
    """Return what `yarn` multiplies rotated queries and keys by: 0.1 ln(factor) + 1 unless a model says otherwise."""

    def scale(weight: float) -> float:
        return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0

    if (own := given.get("attention_factor")) is not None:
        return float(own)
    if given.get("mscale") and given.get("mscale_all_dim"):
        return scale(given["mscale"]) / scale(given["mscale_all_dim"])
    return scale(1.0)


class LlamaSize(Size):
    """The shape of a network of the Llama family; `kv_heads` must divide `heads`."""

    kv_heads: int = Field(gt=0)
    """Heads of keys and values, K, each shared by `heads` / `kv_heads` heads of queries (Ainslie et al. 2023)."""
    head_width: int = Field(gt=0, multiple_of=2)
    """Length of the vector that a head makes of a token, d."""
    mlp_width: int = Field(gt=0)
    """Length of the vector inside the feed-forward network."""
    norm_epsilon: float = Field(default=1e-6, gt=0)
    """What is added to a mean square before its root is taken."""
    rope: Rope = Rope()
    """How positions turn queries and keys."""
    qkv_bias: bool = False
    """Whether the layers of queries, keys and values have biases, as Qwen2's."""
    output_bias: bool = False
    """Whether the layer after attention has one."""
    mlp_bias: bool = False
    """Whether the layers of the feed-forward network have."""
    qk_norm: bool = False
    """Whether queries and keys are normalised head by head, as Qwen3's."""
    window: int | None = Field(default=None, gt=0)
    """Tokens, itself among them, that a token sees in `windowed` layers."""
    windowed: tuple[int, ...] = ()
    """Layers, from 0, in which a token does not see all before it."""

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """Return the shape that a model's `config.json` describes: `model_type` llama, mistral, qwen2 or qwen3.

        Raises:
            KeyError: if it does not name it.
            WeightsError: if it asks for an activation or positions that are not known here.
        """
        if (activation := settings.get("hidden_act", "silu")) not in ("silu", "swish"):
            raise WeightsError(f"a feed-forward network with {activation} is not known here, only with silu")
        kind, layers, heads = settings["model_type"], settings["num_hidden_layers"], settings["num_attention_heads"]
        bias = bool(settings.get("attention_bias", False))
        windowed = _windowed(settings, kind, layers)
        return cls(
            layers=layers,
            heads=heads,
            width=settings["hidden_size"],
            context=settings["max_position_embeddings"],
            kv_heads=settings.get("num_key_value_heads") or heads,
            head_width=settings.get("head_dim") or settings["hidden_size"] // heads,
            mlp_width=settings["intermediate_size"],
            norm_epsilon=settings.get("rms_norm_eps", 1e-6),
            rope=Rope.from_settings(settings),
            qkv_bias=bias or kind == "qwen2",
            output_bias=bias,
            mlp_bias=bool(settings.get("mlp_bias", False)),
            qk_norm=kind == "qwen3",
            window=settings.get("sliding_window", WINDOW) if windowed else None,
            windowed=windowed,
        )

    @property
    def products(self) -> int:
        """How many weights the blocks multiply each token with."""
        attention = 2 * (self.heads + self.kv_heads) * self.head_width
        return self.layers * self.width * (attention + 3 * self.mlp_width)

    @model_validator(mode="after")
    def _heads_are_shared_evenly(self) -> Self:
        if self.heads % self.kv_heads:
            raise ValueError(f"heads {self.heads} is not divisible by kv_heads {self.kv_heads}")
        if self.windowed and self.window is None:
            raise ValueError("windowed layers need a window")
        return self


WINDOW, NOT_WINDOWED = 4096, 28
"""What `transformers` takes where a config says no `sliding_window`, or no `max_window_layers`."""


def _windowed(settings: Mapping[str, Any], kind: str, layers: int) -> tuple[int, ...]:
    """Return the layers in which a sliding window applies; what a config leaves out is as in `transformers`."""
    if not settings.get("sliding_window", WINDOW) or (kind != "mistral" and not settings.get("use_sliding_window")):
        return ()
    if kind != "mistral" and (kinds := settings.get("layer_types")):
        return tuple(layer for layer, each in enumerate(kinds) if each == "sliding_attention")
    if layers > MOST_LAYERS:
        raise ValueError(f"{layers:,} layers")
    first = settings.get("max_window_layers", NOT_WINDOWED) if kind != "mistral" else 0
    return tuple(range(first, layers))


AnySize = GPTSize | LlamaSize | BertSize | RobertaSize | ModernBertSize | DebertaSize
"""A shape of any family; the fields tell which."""


def saved_size(values: Any) -> AnySize:
    """Return a shape from the fields of it that a saved model keeps.

    Raises:
        WeightsError: if they are none.
    """
    try:
        found: AnySize = TypeAdapter(AnySize).validate_python(values)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise WeightsError(f"the size that the model's files say is none ({reason}); fetch or save it again") from error
    return found


MODEL_TYPES: dict[str, type[AnySize]] = {
    "gpt2": GPTSize,
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3"), LlamaSize),
    "bert": BertSize,
    **dict.fromkeys(("roberta", "xlm-roberta"), RobertaSize),
    "modernbert": ModernBertSize,
    "deberta-v2": DebertaSize,
}
"""What `transformers` calls the families whose shapes are known here."""


def size_from_settings(settings: Mapping[str, Any], model: str) -> AnySize:
    """Return the shape that the `config.json` of a model describes.

    Raises:
        UnknownNetwork: if it is of a family, or has options, that are not known here.
        WeightsError: if it does not say it.
    """
    kind = str(settings.get("model_type", "gpt2"))
    if kind not in MODEL_TYPES:
        known = ", ".join(MODEL_TYPES)
        raise UnknownNetwork(f"{model} is a model of the type {kind}; known are {known}; choose another model")
    try:
        return MODEL_TYPES[kind].from_settings(settings)
    except WeightsError as error:
        raise UnknownNetwork(f"{model}: {error}; choose another model") from error
    except KeyError as error:
        raise WeightsError(
            f"the config.json of {model} does not say {error.args[0]}: its shape is not known"
        ) from error
    except ValidationError as error:
        reason = error.errors()[0]
        where = "".join(f"{each}: " for each in reason["loc"])
        why = reason["msg"].removeprefix("Value error, ")
        raise WeightsError(f"the config.json of {model} describes no network ({where}{why})") from error
    except (TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise WeightsError(f"the config.json of {model} describes no network ({error}); fetch it again") from error


SIZES: dict[str, GPTSize] = {
    "124M": GPTSize(layers=12, heads=12, width=768, context=1024),
    "355M": GPTSize(layers=24, heads=16, width=1024, context=1024),
    "774M": GPTSize(layers=36, heads=20, width=1280, context=1024),
    "1558M": GPTSize(layers=48, heads=25, width=1600, context=1024),
}
"""GPT-2's four published sizes (Radford et al. 2019, table 2; head counts as in the released weights)."""
