"""Layers and blocks made ready to run often, against torch's own."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import nn

from components.models.architecture import Block
from components.models.config import GPTSize
from components.models.fast import onednn
from components.models.fast.onednn import PackedLinear
from components.models.fast.prepared import prepared
from components.models.gpt2 import GPT2
from components.models.llama import Llama
from components.models.sizes import LlamaSize

SIZE = GPTSize(layers=1, heads=4, width=32, context=24)
LLAMA = LlamaSize(layers=1, heads=4, kv_heads=2, head_width=8, width=32, mlp_width=64, context=24, qkv_bias=True)


@pytest.fixture(params=[True, False], ids=["oneDNN", "without"])
def private(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether torch has the private operations, or a torch that has them no longer is played."""
    if not request.param:
        monkeypatch.setattr(onednn, "NEEDED", ("_gone_with_the_next_torch",))
    return bool(request.param)


@pytest.fixture(params=["gpt2", "llama"])
def block(request: pytest.FixtureRequest) -> Block:
    network = GPT2(SIZE, 50) if request.param == "gpt2" else Llama(LLAMA, 50)
    network.initialise(1)
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2))
    return network.eval().blocks[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("rows", [1, 3, 128, 200])
def test_a_linear_layer_gives_what_torchs_own_gives(private: bool, dtype: torch.dtype, gelu: bool, rows: int) -> None:
    torch.manual_seed(rows)
    weight, bias, x = torch.randn(70, 50), torch.randn(70), torch.randn(2, rows, 50)
    for own in (bias, None):
        expected = nn.functional.linear(x, weight, own)
        expected = nn.functional.gelu(expected, approximate="tanh") if gelu else expected
        layer = PackedLinear(weight, own, dtype, gelu)
        found = layer(x.to(dtype))
        assert private or not layer.packed
        assert found.dtype == dtype
        assert torch.allclose(found.float(), expected, atol=1e-4 if dtype == torch.float32 else 0.2)


@pytest.mark.ci
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-4), (torch.bfloat16, 0.1)])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("length", [5, 150])
@pytest.mark.usefixtures("private")
def test_a_prepared_block_is_the_block(
    block: Block, dtype: torch.dtype, bound: float, causal: bool, length: int
) -> None:
    x = torch.randn(3, length, SIZE.width, generator=torch.Generator().manual_seed(3))
    visible = None if causal else (torch.arange(length) < torch.tensor([[length], [1], [4]]))[:, None, None]
    with torch.inference_mode():
        found, expected = prepared(block, dtype)(x, causal, visible), block(x, causal, visible)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=bound, rtol=0)


def test_weights_are_taken_only_where_that_is_asked_for(block: Block) -> None:
    before = deepcopy(block.state_dict())
    x = torch.randn(2, 7, SIZE.width)
    kept = prepared(block, torch.float32)(x)
    assert all(torch.equal(block.state_dict()[name], tensor) for name, tensor in before.items())
    taken = prepared(block, torch.float32, take=True)
    assert not [layer for layer in block.modules() if isinstance(layer, nn.Linear) and layer.weight is not None]
    assert torch.equal(taken(x), kept)


def test_a_prepared_block_has_no_dropout() -> None:
    network = GPT2(SIZE, 50, dropout=0.5)
    network.initialise(1)
    x = torch.randn(2, 7, SIZE.width)
    found = prepared(network.train().blocks[0], torch.float32)(x)
    torch.testing.assert_close(found, network.eval().blocks[0](x), atol=1e-5, rtol=0)


def test_one_module_touches_what_is_private_in_torch() -> None:
    file = Path(onednn.__file__)
    assert [path for path in file.parents[2].rglob("*.py") if "ops.mkldnn" in path.read_text("utf-8")] == [file]
