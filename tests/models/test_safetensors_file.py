"""A file that is written tensor by tensor is the one that `safetensors` writes."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from components.models.saved.safetensors_file import save_fp32


@pytest.mark.parametrize("names", [["b", "a", "h.10.x", "h.2.x", "ä"], ["one"], []])
def test_the_file_is_the_same_byte_for_byte(tmp_path: Path, names: list[str]) -> None:
    draw = torch.Generator().manual_seed(0)
    shapes = [(3, 5), (), (0, 4), (7,), (2, 3, 4)]
    tensors = {name: torch.randn(shape, generator=draw) for name, shape in zip(names, shapes, strict=False)}
    save_file(tensors, tmp_path / "theirs", metadata={"format": "pt"})
    save_fp32(tensors, tmp_path / "ours")
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_strides_and_precision_do_not_matter(tmp_path: Path) -> None:
    wide = torch.arange(12.0).reshape(3, 4)
    save_fp32({"a": wide.t(), "b": wide.bfloat16(), "c": wide[:, 1:3].requires_grad_()}, tmp_path / "ours")
    whole = {"a": wide.t().contiguous(), "b": wide, "c": wide[:, 1:3].detach().contiguous()}
    save_file(whole, tmp_path / "theirs", metadata={"format": "pt"})
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
