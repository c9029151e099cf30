"""How a language model is asked to go on."""

from typing import Literal, Self

from pydantic import Field, model_validator

from components.core.config import Config


class GenerationConfig(Config):
    """Section `generation` of a preset: how many tokens are generated, and how each is chosen."""

    max_new_tokens: int = Field(default=64, ge=1)
    """Most tokens to generate; an end-of-text token ends earlier."""

    temperature: float = Field(default=0.0, ge=0)
    """0 takes the likeliest token every time; above 0 tokens are drawn, the more evenly the higher it is."""

    top_k: int | None = Field(default=None, ge=1)
    """Draw from the k likeliest tokens only."""

    top_p: float | None = Field(default=None, gt=0, le=1)
    """Draw from the fewest tokens that together have this probability."""

    seed: int = Field(default=123, ge=0, lt=2**32)
    """Seed of the draws."""

    batch_size: int = Field(default=128, ge=1)
    """Most prompts that are continued at once; fewer where their keys and values would take more than 2 GB."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Numbers to compute with; auto is bf16 where the hardware multiplies in it. Weights stay in fp32."""

    fast: bool = True
    """Whether fast paths are taken; false reads every text anew for each token, with PyTorch's own layers, to tell
    whether a fast path is to blame for a result. Results are equal within rounding."""

    @model_validator(mode="after")
    def _filters_need_a_draw(self) -> Self:
        for name in ("top_k", "top_p"):
            if self.temperature == 0 and getattr(self, name) is not None:
                raise ValueError(f"{name} has no effect at temperature 0: set temperature=1, or leave {name} out")
        return self
