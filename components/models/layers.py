"""Layers that come without weights, and how weights are drawn."""

import zlib

import torch
from torch import Tensor, nn

INITIAL_STD = 0.02
"""The standard deviation of new weights (Radford et al. 2018)."""


class Linear(nn.Linear):
    """A linear layer that is not initialised: its weights are drawn or loaded right after, and drawing takes time."""

    def reset_parameters(self) -> None:
        """Leave the memory as it is."""


class Embedding(nn.Embedding):
    """An embedding that is not initialised, for the same reason."""

    def reset_parameters(self) -> None:
        """Leave the memory as it is."""


def replace(parent: nn.Module, name: str, layer: nn.Module) -> None:
    """Put a layer in the place of the one of this dotted name within `parent`."""
    owner, _, child = name.rpartition(".")
    setattr(parent.get_submodule(owner), child, layer)


def init_weights_(network: nn.Module, seed: int, norm: str, residual: str = "", residual_std: float = 0.0) -> None:
    """Fill a network's parameters from N(0, 0.02), biases with 0, and those with `norm` in their names with 1.

    Those whose names end with `residual`, which is added to what came in, get `residual_std` instead.
    """
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif norm in name:
            nn.init.ones_(parameter)
        else:
            std = residual_std if residual and name.endswith(residual) else INITIAL_STD
            init_normal_(parameter, std, seed, name)


def init_normal_(parameter: Tensor, std: float, seed: int, name: str) -> None:
    """Fill a parameter from N(0, std), by a generator of its own.

    The generator depends on seed and name only, so that a parameter gets the same values on every device and
    whatever else the model has: tied or untied, language model or classifier.
    """
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}/{name}".encode()))
    values = torch.empty(parameter.shape, device="cpu").normal_(0.0, std, generator=generator)
    with torch.no_grad():
        parameter.copy_(values)
