"""What a file's tensors must hold to be weights."""

from pathlib import Path

import torch
from torch import Tensor

from components.core.errors import WeightsError


def check_numbers(name: str, tensor: Tensor, folder: Path) -> None:
    """Refuse a tensor of whole numbers, or with NaN or infinities in it.

    Raises:
        WeightsError: naming the tensor and the folder that it is from.
    """
    if not tensor.is_floating_point():
        kind = str(tensor.dtype).removeprefix("torch.")
        raise WeightsError(f"{name} holds {kind} in {folder}, which are no weights; fetch or save them again")
    # Not `tensor.isfinite()`, which makes another tensor of that size. Numbers of 8 bits have no order in PyTorch.
    ends = (tensor if tensor.itemsize > 1 else tensor.float()).aminmax()
    if not torch.stack(ends).isfinite().all():
        raise WeightsError(f"{name} holds numbers that are not finite in {folder}; fetch or save them again")
