"""Filters and draws against transformers' own."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from transformers.generation import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from components.core.config import LARGEST
from components.generation.config import GenerationConfig
from components.generation.sampling import filtered, keep_top_k, keep_top_p, next_tokens


def some_logits(seed: int, rows: int = 4, vocabulary: int = 57) -> torch.Tensor:
    return torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(seed)) * 3


NO_IDS = torch.empty(4, 0, dtype=torch.int64)


@pytest.mark.ci
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(1, 80))
def test_top_k_is_that_of_transformers(seed: int, k: int) -> None:
    logits = some_logits(seed).round(decimals=1)  # with ties
    assert torch.equal(keep_top_k(logits, k), TopKLogitsWarper(k)(NO_IDS, logits))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), p=st.floats(0.01, 0.99))
def test_top_p_is_that_of_transformers(seed: int, p: float) -> None:
    logits = some_logits(seed)
    assert torch.equal(keep_top_p(logits, p), TopPLogitsWarper(p)(NO_IDS, logits))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), temperature=st.floats(0.1, 5), k=st.integers(1, 60), p=st.floats(0.05, 0.95))
def test_all_three_come_in_the_order_of_transformers(seed: int, temperature: float, k: int, p: float) -> None:
    logits = expected = some_logits(seed)
    for warper in (TemperatureLogitsWarper(temperature), TopKLogitsWarper(k), TopPLogitsWarper(p)):
        expected = warper(NO_IDS, expected)
    found = filtered(logits, GenerationConfig(temperature=temperature, top_k=k, top_p=p))
    assert torch.equal(found.isinf(), expected.isinf())
    assert torch.allclose(found.softmax(dim=-1), expected.softmax(dim=-1), rtol=1e-4)
    assert (found.amax(dim=-1) == 0).all()


@settings(max_examples=60, deadline=None)
@given(
    temperature=st.floats(0, 1e-30, exclude_min=True),
    k=st.none() | st.integers(1, LARGEST),
    p=st.none() | st.floats(0, 1, exclude_min=True),
)
def test_the_lowest_temperatures_take_the_likeliest(temperature: float, k: int | None, p: float | None) -> None:
    logits = some_logits(3)
    config = GenerationConfig(temperature=temperature, top_k=k, top_p=p)
    assert torch.equal(next_tokens(logits, config, torch.Generator().manual_seed(0)), logits.argmax(dim=-1))


@settings(max_examples=30, deadline=None)
@given(temperature=st.floats(1e30, allow_infinity=False))
def test_the_highest_temperatures_leave_all_tokens_alike(temperature: float) -> None:
    shares = filtered(some_logits(4), GenerationConfig(temperature=temperature)).softmax(dim=-1)
    assert torch.allclose(shares, torch.full_like(shares, 1 / shares.shape[1]))


def test_a_nucleus_of_everything_and_of_one() -> None:
    logits = some_logits(1)
    assert torch.equal(keep_top_p(logits, 1.0), logits)
    assert (keep_top_p(logits, 1e-9).isfinite().sum(dim=1) == 1).all()


def test_draws_come_as_often_as_their_probability_and_greedy_takes_the_likeliest() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]]))
    rows = logits.expand(20_000, 4)
    config = GenerationConfig(temperature=1.0, top_p=0.8)
    drawn = next_tokens(rows, config, torch.Generator().manual_seed(0))
    shares = drawn.bincount(minlength=4) / len(rows)
    assert shares.tolist() == pytest.approx([0.625, 0.375, 0, 0], abs=0.02)
    assert next_tokens(rows, GenerationConfig()).tolist() == [0] * len(rows)


@pytest.mark.parametrize("option", [{"top_k": 3}, {"top_p": 0.5}])
def test_a_filter_without_a_draw_is_refused(option: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="no effect at temperature 0: set temperature=1"):
        GenerationConfig(**option)
