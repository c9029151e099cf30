"""What 1 to 5 and 10 are measured with: the GPU if there is one, else the CPU, and a network of 124M or 355M."""

import os
from typing import Any, Final, Literal

import torch

from components.models.devices import pick_precision
from components.models.language_model import LanguageModel

SIZE = "GRADUS_BENCHMARK_SIZE"
"""The environment variable that `--size` sets, which processes that a benchmark starts inherit."""
SMALL: Final = "124M"
"""The size that targets and accuracies on file are for."""
Precision = Literal["bf16", "fp32"]
Targets = tuple[float | None, float | None]
"""What must be reached, and what should."""


def device() -> torch.device:
    """Return where networks compute."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def precision() -> Precision:
    """Return what the machine multiplies in: bf16 where it need not emulate it, else fp32."""
    return "bf16" if pick_precision("auto", device()) == "bf16" else "fp32"


def targets(bf16: Targets, fp32: Targets = (None, None)) -> Targets:
    """Return the targets of this machine, which multiplies in bf16 or does not."""
    return bf16 if precision() == "bf16" else fp32


def size() -> str:
    """Return the size of the networks, as GPT-2's are called."""
    return os.environ.get(SIZE, SMALL)


def shape_of(gpt: LanguageModel) -> dict[str, Any]:
    """Return the shape of a network as options of a `GPT2Config` of `transformers`."""
    shape = gpt.transformer.size
    return {"n_layer": shape.layers, "n_head": shape.heads, "n_embd": shape.width}


def settle() -> None:
    """Wait until the GPU has done what it was told, which the clock would miss."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
