"""What answering is expected to cost."""

import numpy as np
import pytest
import torch

from components.generation.answers import rows_at_once
from components.generation.batched import continue_prompts
from components.generation.config import GenerationConfig
from components.generation.decoder import Decoder
from components.generation.forecast import Pace, answering_bytes, most_tokens, time_decoding
from components.models.config import SIZES, GPTSize
from components.models.gpt2 import GPT2
from components.models.language_model import LanguageModel
from components.models.tokenizer import end_of_text, load_tokenizer

ENCODING = load_tokenizer("sample://vocabulary.tiktoken")
SIZE = GPTSize(layers=2, heads=2, width=32, context=64)


def test_turns_and_rows_are_counted_as_batches_take_them() -> None:
    prompts, responses = np.array([5, 9, 2, 7]), np.array([3, 1, 8, 2])
    # The longest prompts go first: 9 and 7, then 5 and 2.
    assert Pace(1.0, 0.0, 0.0).seconds(prompts, responses, 2) == 2 * 9 + 2 * 5
    assert Pace(0.0, 1.0, 0.0).seconds(prompts, responses, 2) == 2 + 8
    assert Pace(0.0, 0.0, 1.0).seconds(prompts, responses, 2) == 14


def test_the_turns_are_those_that_generation_takes() -> None:
    model = LanguageModel(GPT2(SIZE, ENCODING.n_vocab))
    model.initialise(3)
    config = GenerationConfig(max_new_tokens=20, precision="fp32")
    prompts = [[7] * length for length in (1, 30, 50, 63, 64, 70)]
    lengths = np.array([len(prompt) for prompt in prompts])
    expected = most_tokens(lengths, config, SIZE.context)
    assert expected.tolist() == [20, 20, 14, 1, 0, 0]
    made = continue_prompts(Decoder(model, "fp32"), ENCODING, prompts, config)
    assert [len(each.tokens) for each in made if each.stopped != "end"] == [
        count for count, each in zip(expected, made, strict=True) if each.stopped != "end"
    ]
    like = most_tokens(lengths, config, SIZE.context, np.array([4, 19, 30, 5, 5, 5]))
    assert like.tolist() == [5, 20, 14, 1, 0, 0]


@pytest.mark.parametrize("prompts", [[[5] * 8, [6] * 20, [7] * 3], [[5] * 64], [[]]])
def test_the_pace_is_measured_whatever_the_prompts(prompts: list[list[int]]) -> None:
    model = LanguageModel(GPT2(SIZE, ENCODING.n_vocab))
    model.initialise(3)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    pace = time_decoding(model, prompts, GenerationConfig(), end_of_text(ENCODING), torch.device("cpu"), "fp32")
    assert pace.token > 0
    assert pace.turn + pace.row > 0
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_memory_grows_with_rows_and_new_tokens() -> None:
    def needed(batch_size: int, new: int, precision: str = "fp32") -> int:
        config = GenerationConfig(batch_size=batch_size, max_new_tokens=new)
        size = GPTSize(layers=12, heads=12, width=768, context=1024)
        return answering_bytes(size, 0, 50_257, np.full(100, 100), config, precision)

    # Keys and values of 12 blocks, and one more where rows leave: 300 tokens are 320 columns.
    assert needed(16, 200) >= 2 * 13 * 16 * 320 * 768 * 4
    assert needed(16, 400) > 1.3 * needed(16, 200)
    assert needed(16, 200) > 1.6 * needed(8, 200)
    assert needed(16, 200, "bf16") < 0.7 * needed(16, 200)


def test_a_batch_is_as_large_as_is_asked_for_and_its_memory_allows() -> None:
    def rows(size: GPTSize, new: int, precision: str = "fp32", most: int = 128) -> int:
        return rows_at_once(size, 44, GenerationConfig(max_new_tokens=new, batch_size=most), precision)

    small, medium = SIZES["124M"], SIZES["355M"]
    assert rows(small, 64) == rows(small, 256, "bf16") == 128
    assert rows(small, 64, most=10) == 10
    # 24 layers of 1,024 numbers each for keys and for values, in 320 columns.
    assert rows(medium, 256) == 2 * 2**30 // (2 * 24 * 1024 * 320 * 4)
    assert rows(medium, 256, "bf16") in (2 * rows(medium, 256), 2 * rows(medium, 256) + 1)
    assert rows(GPTSize(layers=48, heads=25, width=1600, context=100_000), 90_000) == 1
