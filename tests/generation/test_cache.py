"""The key-value cache: whatever is read at once, and whatever is forgotten, the logits are those of the whole text."""

import pytest
import torch

from components.generation.cache import BLOCK, CachedGPT, padded_left
from components.generation.config import GenerationConfig
from components.generation.decoding import cached, generate, uncached
from tests.generation.models import END, network

GPT = network(context=200)


def row(length: int, seed: int = 0) -> list[int]:
    return torch.randint(END, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def whole(tokens: list[int]) -> torch.Tensor:
    return uncached(GPT)(torch.tensor([tokens]))[0]


def test_rows_are_padded_on_the_left() -> None:
    tokens, padding = padded_left([[5, 6], [7], [1, 2, 3]], 9)
    assert tokens.tolist() == [[9, 5, 6], [9, 9, 7], [1, 2, 3]]
    assert padding.tolist() == [1, 2, 0]


@pytest.mark.parametrize("cuts", [[8, 1, 1, 1], [64, 1, 1], [63, 1, 1, 1], [60, 10, 70], [200], [150, 50]])
@pytest.mark.parametrize("padding", [None, [0, 3], [7, 0]])
def test_the_logits_are_those_of_the_whole_text(cuts: list[int], padding: list[int] | None) -> None:
    rows = torch.tensor([row(sum(cuts), seed) for seed in (1, 2)])
    reader = CachedGPT(GPT, None if padding is None else torch.tensor(padding))
    start = 0
    for cut in cuts:
        logits = reader.read(rows[:, start : start + cut])
        start += cut
        for number, skipped in enumerate(padding or [0, 0]):
            expected = whole(rows[number, skipped:start].tolist())
            assert torch.allclose(logits[number], expected, atol=1e-3, rtol=1e-4)
    assert logits.isfinite().all()
    assert reader.length == sum(cuts)


def test_rows_that_are_forgotten_do_not_change_the_others() -> None:
    rows = [row(length, length) for length in (10, 3, 7, 5)]
    tokens, padding = padded_left(rows, END)
    reader = CachedGPT(GPT, padding)
    reader.read(tokens)
    reader.keep([1, 3])
    for turn in range(BLOCK):
        rows = [[*each, turn] for each in rows]
        logits = reader.read(torch.tensor([[turn], [turn]]))
    assert torch.allclose(logits, torch.stack([whole(rows[1]), whole(rows[3])]), atol=1e-3, rtol=1e-4)
    assert {tuple(memory.keys.shape) for memory in reader._memory} == {(2, 2, 2 * BLOCK, 16)}


def test_padding_alone_gives_numbers() -> None:
    tokens, padding = padded_left([row(1), row(30)], END)
    reader = CachedGPT(GPT, padding)
    assert reader.read(tokens).isfinite().all()
    # Whether a column that sees nothing is NaN depends on the device: there is none.
    assert reader._visible(torch.arange(30), 30).any(dim=-1).all()


@pytest.mark.parametrize("prompt", [1, 190, 200, 230])
def test_the_cached_loop_writes_what_the_uncached_one_does_also_beyond_the_context(prompt: int) -> None:
    tokens, config = torch.tensor([row(prompt), row(prompt, 1)]), GenerationConfig(max_new_tokens=20)
    expected = torch.stack(list(generate(uncached(GPT), tokens, config, END)))
    assert torch.stack(list(generate(cached(GPT), tokens, config, END))).equal(expected)


def test_every_token_is_read_once() -> None:
    read = []
    with_hook = network(context=64)
    with_hook.transformer.register_forward_hook(lambda _, inputs, __: read.append(inputs[0].shape[1]))
    list(generate(cached(with_hook), torch.tensor([row(10)]), GenerationConfig(max_new_tokens=6), END))
    assert read == [10, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_numbers_of_half_the_length_stay_near(precision: str) -> None:
    from components.model.devices import autocast

    tokens, padding = padded_left([row(20), row(5)], END)
    with autocast(torch.device("cpu"), precision):
        reader = CachedGPT(GPT, padding)
        reader.read(tokens)
        logits = reader.read(torch.tensor([[1], [1]]))
    assert logits.dtype == torch.float32
    assert reader._memory[0].keys.dtype == (torch.bfloat16 if precision == "bf16" else torch.float32)
    expected = torch.stack([whole([*row(20), 1]), whole([*row(5), 1])])
    assert (logits - expected).abs().mean() < 0.05 * expected.abs().mean()
