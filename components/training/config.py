"""The recipes of fine-tuning runs."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from components.core.config import Config
from components.models.config import PADDING_IS_READ, ModelConfig, Pooling, Trainable, frozen_blocks
from components.models.fast import uses

RATE = 5e-5
"""Learning rate of a whole network's training, unless a recipe says another."""
LORA_RATE_FACTOR = 10
"""How much faster adapters learn well (Schulman et al., "LoRA Without Regret", 2025)."""


class Recipe(Config):
    """How a model is fine-tuned, whatever it learns."""

    epochs: int = Field(default=5, ge=1)
    """Passes over the training set."""

    max_steps: int | None = Field(default=None, ge=1)
    """Stop after this many optimiser steps, whatever `epochs` says."""

    batch_size: int = Field(default=8, ge=1)
    """Rows that go through the network at once."""

    accumulate: int = Field(default=1, ge=1)
    """Batches whose gradients make one step: it is that of one batch of `batch_size * accumulate` rows."""

    learning_rate: float = Field(default=RATE, gt=0, le=1)
    """Learning rate of AdamW at its highest. Where `trainable: lora` is set and this is not, ten times the usual one or
    that of the preset."""

    schedule: Literal["constant", "cosine"] = "constant"
    """How the learning rate goes on after the warm-up: it stays, or falls to 0 along a cosine."""

    warmup: float = Field(default=0.0, ge=0)
    """Steps over which the learning rate rises from 0: a share of the run if below 1, else a number of steps."""

    weight_decay: float = Field(default=0.1, ge=0)
    """Decoupled weight decay of AdamW, applied to every trained tensor."""

    clip: float | None = Field(default=1.0, gt=0)
    """Largest gradient norm; null leaves gradients as they are."""

    eval_every: int = Field(default=50, ge=1)
    """Steps between evaluations on train and validation."""

    eval_batches: int | None = Field(default=5, ge=1)
    """Batches of each split that such an evaluation looks at; null takes all of them."""

    early_stopping: int | None = Field(default=None, ge=1)
    """Stop after so many evaluations in a row without a lower validation loss; null never does."""

    keep: Literal["best", "last"] = "best"
    """Which weights become the model: the ones with the lowest validation loss, or the last ones."""

    trainable: Trainable = "last_block"
    """What is trained: the head alone, the head with the last block(s) and the final norm, everything, or adapters."""

    max_length: int | None = Field(default=None, ge=1)
    """Longest row in tokens, the rest is cut; null means the model's context."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto` is bf16 where the machine computes in it, else fp32."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """`auto` is CUDA, then MPS, then the CPU."""

    threads: int | None = Field(default=None, ge=1)
    """Threads that compute on a CPU; null is one a core. A small network is as fast with 1, and many times faster on a
    machine that others use: threads wait for one another."""

    compile: Literal["auto", "always", "never"] = "auto"
    """Whether PyTorch compiles the blocks in the first steps, which takes up to a minute; `auto` does so on CUDA, where
    Triton and a C compiler are installed, for trainings of ten million tokens or more."""

    fast: bool = True
    """Whether fast paths are taken; false computes as PyTorch's own layers do, to tell whether one is to blame for a
    result. Results are equal within rounding, but for dropout, which falls on other places."""

    checkpoint_minutes: float | None = Field(default=5.0, ge=0)
    """Minutes between checkpoints, from which a training that was killed goes on; 0 or null writes none. They are
    further apart where writing them would take more than 3 % of the time."""

    seed: int = Field(default=123, ge=0, lt=2**32)
    """Seed of the initial weights, the order of batches and dropout."""

    @model_validator(mode="before")
    @classmethod
    def _adapters_learn_faster(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("trainable") == "lora":
            return {"learning_rate": LORA_RATE_FACTOR * RATE, **values}
        return values

    def too_long(self, context: int) -> str | None:
        """Say which length in tokens is more than a model's context, if one is."""
        lengths = {"max_length": self.max_length, "padding": getattr(self, "padding", None)}
        for name, tokens in lengths.items():
            if isinstance(tokens, int) and tokens > context:
                return f"train.{name}={tokens} is more than the model's context: set it to {context} or less"
        return None


NOT_LEARNT_FROM = frozenset({"checkpoint_minutes"})
"""Options that change nothing in what a training results in."""


def rows_per_step(config: Recipe) -> int:
    """Return how many rows one optimiser step sees."""
    return config.batch_size * config.accumulate


class TrainConfig(Recipe):
    """How a classifier is fine-tuned."""

    pooling: Pooling | None = None
    """What feeds the head: the last real token, the first, or their mean; `cls`, the first as `transformers` classifies
    by it (with BERT's pooler); or the padded row's end or its mean. Null: the mean in encoders, else the last."""

    causal: bool = True
    """Whether a token sees only itself and those before it; false lets all tokens of a text see each other, which those
    of an encoder always do."""

    padding: Literal["batch", "train", "none"] | int = "batch"
    """Pad to the longest row of the batch, of the training set, or to a number of tokens; `none` takes single rows."""

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if isinstance(self.padding, int) and self.padding < 1:
            raise ValueError(f"padding must be batch, train, none or a positive number of tokens, not {self.padding}")
        if isinstance(self.padding, int) and self.max_length and self.padding > self.max_length:
            raise ValueError(
                f"padding={self.padding} is more than max_length={self.max_length}: set train.padding to it or less"
            )
        if self.padding == "none" and self.batch_size > 1:
            raise ValueError(
                "padding=none needs single rows: "
                f"set train.batch_size=1 and train.accumulate={self.batch_size * self.accumulate}"
            )
        if self.pooling in PADDING_IS_READ and self.padding == "batch":
            real = "last_token" if self.pooling == "last_position" else "mean"
            raise ValueError(
                f"pooling={self.pooling} reads the padding, which must not depend on the batch: "
                f"set train.padding=train, or train.pooling={real}"
            )
        return self


class InstructionTrainConfig(Recipe):
    """How a language model is fine-tuned on instructions."""

    epochs: int = Field(default=2, ge=1)
    """Passes over the training set."""

    eval_every: int = Field(default=20, ge=1)
    """Steps between evaluations on train and validation, each with a sample response."""

    trainable: Literal["last_block", "last_two_blocks", "all", "lora"] = "all"
    """What is trained: everything, the last block(s) with the final norm and an untied head, or adapters."""

    mask_prompt: bool = True
    """Whether only the response is learnt; false learns to write the prompt as well, as the tutorial does."""

    learn: Literal["assistant", "last"] = "assistant"
    """Of conversations, where prompts are masked: whether all of the assistant's turns are learnt, or the last only."""

    batching: Literal["padded", "length", "packed"] = "length"
    """`padded`: rows as they come, padded to the longest of their batch; `length`: rows of like length go together;
    `packed`: a batch's rows one after the other without padding, each seeing only itself."""

    gradient_checkpointing: bool = False
    """Whether activations are computed a second time instead of being kept: less memory, a third more time."""


def uses_cached_features(model: ModelConfig, config: TrainConfig) -> bool:
    """Tell whether a recipe has blocks whose states are worth keeping: they neither train nor drop anything."""
    wanted = config.fast and uses("cached features")
    return wanted and model.dropout == 0 and frozen_blocks(config.trainable, model.shape.layers) > 0
