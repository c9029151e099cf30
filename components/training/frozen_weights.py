"""Frozen weights in bf16 while a network trains in bf16: half their memory, and bit by bit the same gradients.

Under autocast a linear layer rounds its weights to bf16 whenever it is used, and the backward pass keeps the rounded
copy. Weights that do not train may as well be rounded once. Embeddings, which are read as they are, and norms, which
autocast computes in fp32, stay in fp32. What is saved is in fp32 as ever: weights that do not train can be made again.
"""

from collections.abc import Callable

import torch
from torch import nn

from components.core.process_memory import give_freed_back
from components.models.fast import uses


def round_frozen(model: nn.Module) -> None:
    """Round the weights and biases of linear layers that do not train to bf16; the model then needs autocast."""
    if not uses("rounded weights"):
        return
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            for parameter in layer.parameters(recurse=False):
                if not parameter.requires_grad:
                    parameter.data = parameter.data.bfloat16()
    give_freed_back()


def restore_frozen(model: nn.Module, make: Callable[[], nn.Module]) -> None:
    """Put back in fp32 what `round_frozen` rounded; `make` makes a network with the weights that training began with.

    Its parameters have the names of the model's, which may have adapters besides.
    """
    rounded = {name: each for name, each in model.named_parameters() if each.dtype == torch.bfloat16}
    begun = dict(make().named_parameters()) if rounded else {}
    for name, parameter in rounded.items():
        parameter.data = begun.pop(name).data.to(parameter.device)
