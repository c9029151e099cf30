"""Where and in which precision to compute."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch

from components.core.errors import ConfigError
from components.models.processor import multiplies_bf16


def pick_device(wanted: str) -> torch.device:
    """Return the device named `wanted`; `auto` is CUDA, then MPS, then the CPU.

    Raises:
        ConfigError: if the machine has no such device.
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    name = next(name for name, there in present.items() if there) if wanted == "auto" else wanted
    if not present[name]:
        raise ConfigError(f"train.device={name}, but this machine has no such device; set train.device=auto")
    return torch.device(name)


def pick_precision(wanted: str, device: torch.device) -> str:
    """Return `fp32` or `bf16`; `auto` is bf16 only where the hardware multiplies in it."""
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type == "cpu":
        return "bf16" if multiplies_bf16() else "fp32"
    return "fp32"


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Return the context in which a forward pass runs; weights stay in fp32."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def dtype_of(precision: str) -> torch.dtype:
    """Return the type of numbers that `fp32` or `bf16` names."""
    return torch.bfloat16 if precision == "bf16" else torch.float32


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds in which `work` is done on a device."""
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started
