"""What this machine computes on, found without PyTorch where that can be: a run that changes nothing never loads it."""

import os
import re
import sys
from pathlib import Path

BF16_FLAGS = {"avx512_bf16", "amx_bf16"}
"""Of a processor that multiplies in bf16, as Linux names them."""
WITHOUT_BF16 = {
    "ATEN_CPU_CAPABILITY": {"DEFAULT", "AVX2"},
    "ONEDNN_MAX_CPU_ISA": {"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI"},
}
"""Values of the variables by which PyTorch and oneDNN are told to leave instructions unused."""
GPU_FILES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""One of them is there where Linux has a driver for a GPU."""


def resolve(device: str, precision: str) -> tuple[str, str]:
    """Return the device and the precision that `auto` stands for on this machine; other values as they are.

    Raises:
        ConfigError: if the machine has no such device.
    """
    if device == "cpu" or (device == "auto" and _has_no_gpu()):
        automatic = "bf16" if multiplies_bf16() else "fp32"
        return "cpu", automatic if precision == "auto" else precision
    from components.models.devices import pick_device, pick_precision

    found = pick_device(device)
    return str(found), pick_precision(precision, found)


def _has_no_gpu() -> bool:
    """Tell whether there is surely none: PyTorch need not be asked."""
    return sys.platform == "linux" and not any(Path(file).exists() for file in GPU_FILES)


def multiplies_bf16() -> bool:
    """Tell whether the processor multiplies in bf16, and PyTorch is not told to do without."""
    for variable, values in WITHOUT_BF16.items():
        if os.environ.get(variable, "").upper() in values:
            return False
    if sys.platform == "linux":
        found = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        if found:
            return bool(BF16_FLAGS & set(found[1].split()))
    import torch

    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
