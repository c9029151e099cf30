"""The way by all scores against PyTorch's own attention."""

import pytest
import torch
import torch.nn.functional as F

from components.models.attention import attend
from components.models.fast.short_attention import SHORT, short_attention


def some_heads(dtype: torch.dtype, length: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(length)
    drawn = torch.randn(3, 2, length, 4, 16, generator=generator).to(dtype)
    return [each.transpose(1, 2).requires_grad_() for each in drawn]  # (B, H, T, d), as the network has them


@pytest.mark.ci
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.bfloat16, 0.03)])
@pytest.mark.parametrize("length", [1, 2, 65, SHORT])
def test_values_and_gradients_are_the_same(dtype: torch.dtype, bound: float, length: int) -> None:
    """bf16: scores are rounded to 8 bits before their softmax, so that a weight is off by 1 % at most."""
    ours, theirs = some_heads(dtype, length), some_heads(torch.float32, length)
    with torch.no_grad():
        for exact, rounded in zip(theirs, ours, strict=True):
            exact.copy_(rounded)
    short, plain = short_attention(*ours, True, None, 0.0), F.scaled_dot_product_attention(*theirs, is_causal=True)
    torch.testing.assert_close(short.float(), plain, rtol=0, atol=bound)
    short.square().sum().backward()
    plain.square().sum().backward()
    for own, other in zip(ours, theirs, strict=True):
        assert own.grad is not None
        torch.testing.assert_close(own.grad.float(), other.grad, rtol=0, atol=5 * bound)


@pytest.mark.parametrize("sharing", [1, 2])
def test_texts_of_other_lengths_see_only_themselves(sharing: int) -> None:
    query, key, value = some_heads(torch.bfloat16, 9)
    key, value = key[:, ::sharing], value[:, ::sharing]
    visible = (torch.arange(9) < torch.tensor([[9], [4]]))[:, None, None]
    plain = F.scaled_dot_product_attention(query, key, value, visible, enable_gqa=True)
    short = short_attention(query, key, value, False, visible, 0.0)
    torch.testing.assert_close(short, plain, rtol=0, atol=0.03)


def test_long_rows_and_other_masks_take_pytorchs_own() -> None:
    query, key, value = some_heads(torch.bfloat16, SHORT + 1)
    plain = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    assert torch.equal(attend(query, key, value, causal=True, visible=None, dropout=0.0), plain)
    visible = torch.ones(2, 1, 1, SHORT + 1, dtype=torch.bool)
    plain = F.scaled_dot_product_attention(query, key, value, visible)
    assert torch.equal(attend(query, key, value, causal=False, visible=visible, dropout=0.0), plain)
