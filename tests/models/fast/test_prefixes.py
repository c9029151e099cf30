"""States that rows share, computed once, against the network that computes every position."""

import pytest
import torch

from components.models.fast.prefixes import distinct, distinct_states, shares_prefixes
from components.models.fast.unpadded import MULTIPLE
from components.models.gpt2 import GPT2
from components.models.llama import Llama
from components.models.sizes import GPTSize, LlamaSize

VOCABULARY, WIDTH = 50, 64
LENGTHS = torch.tensor([64, 33, 21, 50, 55, 22, 64, 10])
SHAPE = {"layers": 2, "width": 32, "context": WIDTH}
NETWORKS = {
    "gpt2": lambda: GPT2(GPTSize(**SHAPE, heads=2), VOCABULARY),
    "llama": lambda: Llama(LlamaSize(**SHAPE, heads=4, kv_heads=2, head_width=8, mlp_width=64, window=30), VOCABULARY),
}


def rows_that_begin_alike() -> torch.Tensor:
    """The first 20 tokens of all are the same, and 40 of the fourth and the fifth; the sixth begins like the fifth."""
    tokens = torch.randint(1, VOCABULARY, (len(LENGTHS), WIDTH), generator=torch.Generator().manual_seed(2))
    tokens[:, :20] = tokens[0, :20]
    tokens[3:6, :40] = tokens[3, :40]
    return tokens.masked_fill(torch.arange(WIDTH) >= LENGTHS[:, None], 0)


@pytest.mark.parametrize("family", NETWORKS)
@pytest.mark.parametrize("recompute", [False, True])
def test_states_and_gradients_are_those_of_the_whole_network(family: str, recompute: bool) -> None:
    network = NETWORKS[family]()
    network.initialise(1)
    network.recompute = recompute
    tokens, real = rows_that_begin_alike(), torch.arange(WIDTH) < LENGTHS[:, None]
    found = distinct(tokens, LENGTHS)
    assert found is not None
    weights = torch.randn(int(real.sum()), 32, generator=torch.Generator().manual_seed(3))
    results = []
    for states in (network(tokens), distinct_states(network, tokens, found)[found.source]):
        network.zero_grad()
        (states[real] * weights).sum().backward()
        results.append([states[real], *(each.grad for each in network.parameters())])
    for whole, shared in zip(*results, strict=True):
        torch.testing.assert_close(shared, whole, atol=1e-4, rtol=1e-4)


def test_what_is_computed_are_the_prefixes_that_differ() -> None:
    tokens = rows_that_begin_alike()
    found = distinct(tokens, LENGTHS)
    assert found is not None
    every = [tuple(row[: place + 1]) for row, end in zip(tokens.tolist(), LENGTHS, strict=True) for place in range(end)]
    assert len(set(every)) <= len(found.positions) < len(set(every)) + MULTIPLE
    assert len(found.positions) % MULTIPLE == 0
    computed = [tuple(tokens[place // WIDTH, : place % WIDTH + 1].tolist()) for place in found.positions.tolist()]
    sources = [place for row, end in zip(found.source.tolist(), LENGTHS, strict=True) for place in row[:end]]
    assert [computed[source] for source in sources] == every


def test_padding_is_no_prefix() -> None:
    tokens = torch.tensor([[7, 0, 0, 0], [7, 0, 0, 5]]).repeat(20, 1)
    found = distinct(tokens, torch.tensor([1, 4]).repeat(20))
    assert found is not None
    first, second = found.source[:2].tolist()
    assert first[0] == second[0], "both begin with 7"
    assert len(set(second)) == 4, "what pads the first row is text in the second"


def test_there_is_little_to_save_in_rows_of_one_length_that_begin_differently() -> None:
    tokens = torch.arange(8 * WIDTH).view(8, WIDTH)
    assert distinct(tokens, torch.full((8,), WIDTH)) is None


def test_with_dropout_no_states_are_shared() -> None:
    size = GPTSize(layers=1, heads=1, width=8, context=8)
    assert shares_prefixes(GPT2(size, VOCABULARY))
    assert not shares_prefixes(GPT2(size, VOCABULARY, dropout=0.1))
