"""Blocks that PyTorch compiles for a GPU: between two products, norms, sums and activations touch memory only once.

One program serves all blocks and rows of every length; making it takes up to a minute, which a short training does not
get back (Ansel et al., "PyTorch 2: Faster Machine Learning Through Dynamic Python Bytecode Transformation and Graph
Compilation", 2024).
"""

import shutil
from importlib.util import find_spec
from typing import Literal

import torch

from components.models.architecture import Transformer
from components.models.fast import uses

Wish = Literal["auto", "always", "never"]
ENOUGH_TOKENS = 10_000_000
"""Tokens of a whole training from which `auto` compiles: an estimate, for no GPU was there to measure it on."""


def compile_blocks(transformer: Transformer, wish: Wish, device: torch.device, tokens: int) -> bool:
    """Have the blocks compiled when they are next called, if that is wished or worth it; return whether they are.

    Names and weights stay what they are, and results but for rounding; dropout draws other numbers.
    """
    able = device.type == "cuda" and find_spec("triton") is not None and shutil.which("cc") is not None
    pays = able and tokens >= ENOUGH_TOKENS
    if not uses("compiled") or wish == "never" or (wish == "auto" and not pays):
        return False
    for block in transformer.blocks:
        block.compile(dynamic=True)
    return True
