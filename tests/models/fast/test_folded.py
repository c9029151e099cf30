"""A block of GPT-2 at one position, against the block at all of them."""

import torch

from components.models.architecture import Block
from components.models.config import GPTSize
from components.models.gpt2 import GPT2

SIZE = GPTSize(layers=1, heads=4, width=32, context=24)


def test_a_block_at_one_position_is_the_block() -> None:
    network = GPT2(SIZE, 50)
    network.initialise(1)
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2))
    block = network.eval().blocks[0]
    x = torch.randn(5, 11, SIZE.width, generator=torch.Generator().manual_seed(3))
    place = torch.tensor([0, 4, 10, 7, 1])
    seen = torch.arange(11) <= place[:, None]
    expected = block(x)[torch.arange(5), place]
    for way in (block.at_position, lambda *given: Block.at_position(block, *given)):
        torch.testing.assert_close(way(x, place, seen), expected, atol=1e-5, rtol=1e-5)
