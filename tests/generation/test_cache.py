"""The key-value cache: whatever rows share, whatever they read on and whatever is forgotten, logits are the text's."""

import pytest
import torch

from components.generation.cache import CHUNK, Reader, read_anew, shared_length
from components.generation.config import GenerationConfig
from components.generation.decoder import Decoder
from components.generation.decoding import generate
from components.generation.kv_cache import STEP
from components.models.language_model import LanguageModel
from components.models.llama import Llama
from components.models.sizes import LlamaSize
from tests.generation.models import END, greedy, network, uncached

GPT = network(context=200)
DECODER = Decoder(GPT, "fp32")


def row(length: int, seed: int = 0) -> list[int]:
    return torch.randint(END, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def whole(rows: list[list[int]]) -> torch.Tensor:
    return torch.cat([uncached(GPT)(torch.tensor([each])) for each in rows])


def assert_like(logits: torch.Tensor, rows: list[list[int]]) -> None:
    """Equal up to rounding; the logits of this network go up to a hundred."""
    assert torch.allclose(logits, whole(rows), atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize(
    ("rows", "shared"),
    [
        ([[1, 2, 3]], 2),
        ([[1]], 0),
        ([[1, 2, 3], [1, 2, 4, 5]], 2),
        ([[1, 2], [1, 2, 3], [1, 2, 4]], 1),
        ([[1, 2, 3], [1, 2, 3]], 2),
        ([[3, 1], [2, 1], [2, 9]], 0),
    ],
)
def test_what_rows_share_leaves_a_token_of_each(rows: list[list[int]], shared: int) -> None:
    assert shared_length(rows) == shared


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("shared", [0, 5])
def test_heads_that_share_keys_see_what_the_plain_network_lets_them_see(kv_heads: int, shared: int) -> None:
    size = LlamaSize(layers=2, heads=4, kv_heads=kv_heads, head_width=8, width=32, mlp_width=48, context=80)
    model = LanguageModel(Llama(size, vocab_size=97))
    model.initialise(seed=3)
    rows = [[*range(shared), *range(10 * number, 12 * number + 1)] for number in range(1, 4)]
    reader = Reader(Decoder(model.eval(), "fp32"), rows)
    for turn in range(STEP + 2):
        if turn == 3:
            reader.keep([0, 2])
            rows = [rows[0], rows[2]]
        rows = [[*each, turn] for each in rows]
        logits = reader.read(torch.full((len(rows),), turn))
    assert torch.allclose(logits, read_anew(model, rows), atol=1e-4)


@pytest.mark.ci
@pytest.mark.parametrize("shared", [0, 1, 23, 70])
@pytest.mark.parametrize("lengths", [[8, 5], [1, 1], [64, 63, 1], [65], [100, 3, 30]])
def test_the_logits_are_those_of_the_whole_text(shared: int, lengths: list[int]) -> None:
    rows = [[*row(shared, seed=99), *row(length, seed=number)] for number, length in enumerate(lengths)]
    reader = Reader(DECODER, rows)
    assert_like(reader.logits, rows)
    for turn in range(4):
        rows = [[*each, turn * 7 + number] for number, each in enumerate(rows)]
        logits = reader.read(torch.tensor([each[-1] for each in rows]))
        assert_like(logits, rows)
        assert reader.lengths.tolist() == [len(each) for each in rows]


def test_more_rows_than_are_read_at_once() -> None:
    rows = [[1, 2, 3, *row(1 + number % 9, seed=number)] for number in range(2 * CHUNK + 3)]
    reader = Reader(DECODER, rows)
    assert_like(reader.logits, rows)
    assert_like(reader.read(torch.full((len(rows),), 5)), [[*each, 5] for each in rows])


@pytest.mark.ci
def test_rows_that_are_forgotten_do_not_change_the_others() -> None:
    rows = [[9, 9, *row(length, length)] for length in (10, 3, 7, 5)]
    reader = Reader(DECODER, rows)
    reader.read(torch.tensor([1, 2, 3, 4]))
    reader.keep([1, 3])
    rows = [[*rows[1], 2], [*rows[3], 4]]
    for turn in range(4 * STEP):
        rows = [[*each, turn] for each in rows]
        logits = reader.read(torch.tensor([turn, turn]))
    assert_like(logits, rows)
    for cache in reader.caches:
        # 10 columns of their own and four steps of columns, all of them turned round, and one turn after these.
        assert cache.keys.shape == (2, 2, 16, 10 + 4 * STEP)
        assert cache.newest.shape == (2, 2, STEP, 16)
        assert cache.values.shape == (2, 2, 10 + 5 * STEP, 16)


def test_a_row_beyond_the_context_is_no_trouble_to_the_others() -> None:
    rows = [row(198, seed=1), row(20, seed=2)]
    reader = Reader(DECODER, rows)
    for turn in range(10):
        rows[1] = [*rows[1], turn]
        logits = reader.read(torch.tensor([turn, turn]))
    assert logits.isfinite().all()
    assert_like(logits[1:], rows[1:])


@pytest.mark.ci
@pytest.mark.parametrize("prompt", [1, 190, 200, 230])
def test_the_cached_loop_writes_what_the_uncached_one_does_also_beyond_the_context(prompt: int) -> None:
    for seed in (0, 1):
        tokens, config = row(prompt, seed), GenerationConfig(max_new_tokens=20)
        assert list(generate(GPT, tokens, config, END)) == greedy(GPT, tokens, 20)
