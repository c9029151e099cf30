"""What a model is made of: its size, where its weights come from, its vocabulary."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from components.core.config import Config
from components.models.encoders.sizes import BertSize, DebertaSize, ModernBertSize, RobertaSize
from components.models.pretrained.files import brings_all, is_pretrained, settings_of
from components.models.pretrained.hub import is_hub_id
from components.models.sizes import SIZES, AnySize, GPTSize, LlamaSize, saved_size, size_from_settings

SizeName = Literal["124M", "355M", "774M", "1558M"]

Pooling = Literal["last_token", "first_token", "cls", "mean", "last_position", "mean_positions"]
"""What feeds the classifier: the last or the first real token of a text, or the mean of its real tokens; the first as
`transformers` classifies by it, through the layer that BERT has for that; or the padded end of its row, or the mean of
the whole row."""

PADDING_IS_READ: frozenset[Pooling] = frozenset({"last_position", "mean_positions"})
"""The poolings that read a row with its padding, so that another length of padding is another input."""

Trainable = Literal["last_layer", "last_block", "last_two_blocks", "all", "lora"]
"""Which parameters train: the head; the last block or two and the final norm as well; everything; or low-rank
adapters of every block, and the head."""

Targets = Literal["all", "attention", "feed_forward"]
"""Linear layers of every block that get an adapter."""


PUBLISHED: dict[str, str] = {
    "124M": "openai-community/gpt2",
    "355M": "openai-community/gpt2-medium",
    "774M": "openai-community/gpt2-large",
    "1558M": "openai-community/gpt2-xl",
}
"""Where OpenAI's weights of each size are published on the Hugging Face hub."""


OWN_FIELDS = {
    "kv_heads": "llama",
    "offset": "roberta",
    "token_types": "bert",
    "local_rope_base": "modernbert",
    "buckets": "deberta",
}
"""Which field of a shape tells of which family it is; the first that is there."""


def _size_kind(value: object) -> str:
    if isinstance(value, str):
        return "name"
    fields = value if isinstance(value, dict) else getattr(value, "__dict__", {})
    return next((kind for field, kind in OWN_FIELDS.items() if field in fields), "gpt2")


class LoraConfig(Config):
    """Section `lora` of a preset: low-rank adapters (Hu et al. 2021), used where `train.trainable` is `lora`."""

    rank: int = Field(default=16, ge=1)
    """Rank r of an adapter."""
    alpha: float = Field(default=16.0, gt=0)
    """An adapter's output is multiplied by alpha / rank. For a recipe that multiplies by alpha, set alpha * rank."""
    rslora: bool = False
    """Multiply by alpha / sqrt(rank) instead, so that high ranks learn as fast (Kalajdzievski 2023)."""
    dora: bool = False
    """Learn the length of each row of the weights apart from its direction (Liu et al. 2024): slower, and better at low
    ranks."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of an adapter's inputs dropped while training."""
    save: Literal["merged", "adapter"] = "merged"
    """What a run keeps: a whole model with the adapters `merged` into it, or the `adapter` alone, some megabytes, with
    the name and the hash of `model.weights`, which must be there whenever the model is used."""
    targets: Targets | Annotated[list[str], Field(min_length=1)] = "all"
    """The linear layers of every block that get an adapter: `all`, `attention`, `feed_forward`, or a list of names:
    `attn.c_attn`, `attn.c_proj`, `mlp.c_fc`, `mlp.c_proj` in GPT-2 and `self_attn.q_proj`, `self_attn.k_proj`,
    `self_attn.v_proj`, `self_attn.o_proj`, `mlp.gate_proj`, `mlp.up_proj`, `mlp.down_proj` in the Llama family;
    `attention.self.query`, `attention.self.key`, `attention.self.value`, `attention.output.dense`,
    `intermediate.dense`, `output.dense` in BERT and RoBERTa; `attn.Wqkv`, `attn.Wo`, `mlp.Wi`, `mlp.Wo`
    in ModernBERT; `attention.self.query_proj` ... in DeBERTa."""

    @property
    def scale(self) -> float:
        """What an adapter's output is multiplied by."""
        return float(self.alpha / (self.rank**0.5 if self.rslora else self.rank))


class ModelConfig(Config):
    """Section `model` of a preset."""

    size: Annotated[
        Annotated[Literal[SizeName, "auto"], Tag("name")]
        | Annotated[GPTSize, Tag("gpt2")]
        | Annotated[LlamaSize, Tag("llama")]
        | Annotated[BertSize, Tag("bert")]
        | Annotated[RobertaSize, Tag("roberta")]
        | Annotated[ModernBertSize, Tag("modernbert")]
        | Annotated[DebertaSize, Tag("deberta")],
        Discriminator(_size_kind),
    ] = "124M"
    """One of GPT-2's sizes by name; `auto` for what the weights' `config.json` or GGUF file says; or a shape of your
    own: `layers`, `heads`, `width`, `context`, and for the Llama family `kv_heads`, `head_width`, `mlp_width` ..., for
    BERT `mlp_width`, `token_types`."""
    weights: str = Field(default="openai-community/gpt2", min_length=1)
    """A Hugging Face hub id, a folder, a `.gguf` file, `package:NAME/PATH` for one in an installed Python package,
    `random`, or an earlier run's model (`runs:/...`, `models:/...`)."""
    adapter: str | None = Field(default=None, min_length=1)
    """A folder with an adapter in the layout of `peft`, which is merged into the weights before training starts."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of values dropped from embeddings, attention and residual branches while training."""
    tie_embeddings: bool = True
    """Whether the language-model head is the token embedding itself, as in GPT-2; with `size: auto` the weights say. A
    classifier has no such head."""
    vocabulary: str = "gpt2"
    """`gpt2`, the path of a `.tiktoken` file, `sample://NAME.tiktoken` for one that Gradus ships, or `auto` for the
    tokenizer that comes with the weights."""

    @property
    def shape(self) -> AnySize:
        """The size in numbers, whether it was given by name or not.

        Raises:
            WeightsError: if the weights have to say it and cannot be had, or are of a family that is not known.
        """
        if self.size == "auto":
            settings = settings_of(self.weights)
            own = settings.get("size")
            return saved_size(own) if own else size_from_settings(settings, self.weights)
        return SIZES[self.size] if isinstance(self.size, str) else self.size

    @property
    def base(self) -> str:
        """What training starts from, in words: an adapter that is learnt fits this and nothing else."""
        return f"{self.weights} with {self.adapter} merged" if self.adapter else self.weights

    @property
    def adapter_folder(self) -> Path:
        """Where the adapter lies that is merged into the weights; there must be one."""
        assert self.adapter
        return Path(self.adapter).expanduser()

    @property
    def tied(self) -> bool:
        """Whether the head is the token embedding."""
        if self.size != "auto":
            return self.tie_embeddings
        settings = settings_of(self.weights)
        saved = settings.get("tie_embeddings", settings.get("model_type") == "gpt2")
        return bool(settings.get("tie_word_embeddings", saved))

    @property
    def tokenizer(self) -> str:
        """What `components.models.tokenizer.load_tokenizer` loads."""
        return self.weights if self.vocabulary == "auto" else self.vocabulary

    @model_validator(mode="before")
    @classmethod
    def _weights_bring_all(cls, values: Any) -> Any:
        weights = str(values.get("weights", "")) if isinstance(values, dict) else ""
        if brings_all(weights) or (is_hub_id(weights) and weights not in PUBLISHED.values()):
            return {"size": "auto", "vocabulary": "auto", **values}
        return values

    @field_validator("vocabulary")
    @classmethod
    def _vocabulary_is_known(cls, value: str) -> str:
        if value not in ("gpt2", "auto") and not value.endswith(".tiktoken"):
            raise ValueError(f"{value!r} is neither gpt2, auto nor a .tiktoken file")
        return value

    @model_validator(mode="after")
    def _weights_can_say(self) -> Self:
        asked = [key for key in ("size", "vocabulary") if getattr(self, key) == "auto"]
        if self.weights == "random" and asked:
            raise ValueError(f"random weights say nothing of their {asked[0]}: set model.{asked[0]}")
        if is_pretrained(self.weights) and len(asked) < 2:
            raise ValueError(
                f"{self.weights} brings its size and vocabulary: set model.size and model.vocabulary to auto"
            )
        return self

    @model_validator(mode="after")
    def _published_weights_have_their_size(self) -> Self:
        for name, hub_id in PUBLISHED.items():
            if self.weights == hub_id and self.shape != SIZES[name]:
                fitting = PUBLISHED.get(self.size, "random") if isinstance(self.size, str) else "random"
                raise ValueError(f"weights {hub_id} have size {name}, not {self.size}; set weights to {fitting}")
        return self


def frozen_blocks(trainable: Trainable, layers: int) -> int:
    """Return how many of a network's blocks come before all that trains."""
    trained = {"last_layer": 0, "last_block": 1, "last_two_blocks": 2}
    return max(layers - trained.get(trainable, layers), 0)
