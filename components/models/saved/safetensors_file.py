"""Tensors into a safetensors file, one at a time.

`safetensors.torch.save_file` wants all of them contiguous and in memory at once, which for a network whose layers are
written transposed is the whole of it a second time. The file is the same, byte for byte.
https://huggingface.co/docs/safetensors/index#format
"""

import json
from collections.abc import Mapping
from itertools import accumulate, pairwise
from pathlib import Path

from torch import Tensor

from components.core.room import require_room

ALIGNMENT = 8
FLOAT = 4


def save_fp32(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors as fp32; of each, whatever its dtype, device and strides, a copy is made when its turn comes."""
    names = sorted(tensors)
    ends = accumulate((FLOAT * tensors[name].numel() for name in names), initial=0)
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    for name, offsets in zip(names, pairwise(ends), strict=True):
        header[name] = {"dtype": "F32", "shape": list(tensors[name].shape), "data_offsets": offsets}
    said = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    said += b" " * (-len(said) % ALIGNMENT)
    require_room(path.parent, len(said) + FLOAT * sum(tensors[name].numel() for name in names))
    with path.open("wb") as file:
        file.write(len(said).to_bytes(8, "little") + said)
        for name in names:
            file.write(tensors[name].detach().cpu().float().contiguous().numpy().astype("<f4", copy=False).data)
