"""Weights made ready to decode: the arithmetic is that of the model that they are from, which stays as it is."""

import gc
import weakref
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from components.generation.answers import answer_batches
from components.generation.cache import Reader
from components.generation.config import GenerationConfig
from components.generation.decoder import Decoder, Weights
from components.generation.forecast import copied_bytes, weights_bytes
from components.models.config import SIZES, LoraConfig
from components.models.gpt2 import GPT2
from components.models.language_model import LanguageModel
from components.models.llama import Llama
from components.models.lora import add_adapters
from components.models.sizes import LlamaSize
from components.prompts import TEMPLATES
from tests.generation.models import ENCODING, END, network, uncached

USES: tuple[Weights, ...] = ("copied", "taken")
ROWS = [[5, 6, 7, 8, 9], [5, 6, 7, 1], [5, 6, 20, 21, 22, 23, 24]]


def plain(gpt: LanguageModel, rows: list[list[int]] = ROWS) -> torch.Tensor:
    return torch.cat([uncached(gpt)(torch.tensor([row])) for row in rows])


def decoded(
    gpt: LanguageModel, precision: str = "fp32", rows: list[list[int]] = ROWS, weights: Weights = "copied"
) -> torch.Tensor:
    """Logits after all tokens, of which the last is read in a turn of its own."""
    reader = Reader(Decoder(gpt, precision, weights), [row[:-1] for row in rows])
    return reader.read(torch.tensor([row[-1] for row in rows]))


@pytest.mark.parametrize("tied", [True, False])
def test_logits_are_the_models_in_fp32_and_its_weights_stay(tied: bool) -> None:
    gpt = network(tied=tied)
    before = {name: tensor.clone() for name, tensor in gpt.state_dict().items()}
    assert torch.allclose(decoded(gpt), plain(gpt), atol=1e-3, rtol=1e-4)
    assert all(torch.equal(tensor, before[name]) for name, tensor in gpt.state_dict().items())
    assert all(parameter.requires_grad for parameter in gpt.parameters())


@pytest.fixture
def no_search_for_circles() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_search_for_circles")
@pytest.mark.parametrize("weights", [*USES, "lent"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_converted_weights_go_with_the_last_who_decodes_with_them(precision: str, weights: Weights) -> None:
    decoder = Decoder(network(), precision, weights)
    reader = Reader(decoder, ROWS)
    reader.read(torch.tensor([1, 2, 3]))
    gone = weakref.ref(decoder)
    del decoder, reader
    assert gone() is None


def linear_layers(gpt: LanguageModel) -> list[nn.Linear]:
    return [part for part in gpt.modules() if isinstance(part, nn.Linear)]


@pytest.mark.parametrize("tied", [True, False])
def test_weights_that_are_taken_are_in_memory_once_and_say_the_same(tied: bool) -> None:
    gpt = network(tied=tied)
    expected, weights = plain(gpt), sum(each.nbytes for each in gpt.parameters())
    taken = sum(each.nbytes for layer in linear_layers(gpt) for each in layer.parameters())
    embedding = gpt.transformer.embedding.weight.nbytes
    shared = embedding if tied else 0
    assert weights_bytes(gpt, "fp32") == 2 * weights - taken - embedding + shared
    assert weights_bytes(gpt, "bf16") == weights - taken - embedding + (weights + shared) // 2
    assert torch.allclose(decoded(gpt, weights="taken"), expected, atol=1e-3, rtol=1e-4)
    assert not [layer for layer in linear_layers(gpt) if layer.weight is not None]
    assert sum(each.nbytes for each in gpt.parameters()) == weights - taken


@pytest.mark.parametrize("tied", [True, False])
def test_weights_that_are_taken_say_the_very_same_in_bf16(tied: bool) -> None:
    gpt = network(tied=tied)
    expected = decoded(gpt, "bf16")
    assert torch.equal(decoded(gpt, "bf16", weights="taken"), expected)
    assert gpt.transformer.embedding.weight is None


@pytest.mark.parametrize("adapted", [False, True])
def test_weights_that_are_lent_are_not_copied_in_fp32_and_say_the_same(adapted: bool) -> None:
    gpt = network()
    if adapted:
        add_adapters(gpt.transformer, LoraConfig(rank=4, alpha=8, targets=["attn.c_attn", "mlp.c_fc"]), seed=1)
        for name, parameter in gpt.named_parameters():
            if name.endswith("lora_b"):
                nn.init.normal_(parameter, std=0.1)
    expected = plain(gpt.eval())
    assert torch.allclose(decoded(gpt, weights="lent"), expected, atol=1e-3, rtol=1e-4)
    assert copied_bytes(gpt, "fp32") == 0
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(decoded(gpt, weights="lent"), expected, atol=1e-3, rtol=1e-4)


def test_weights_that_are_lent_are_copied_where_they_are_multiplied_in_bf16_or_rounded_already() -> None:
    gpt = network().eval()
    numbers = sum(each.numel() for each in gpt.parameters())
    assert copied_bytes(gpt, "bf16") == 2 * numbers
    assert torch.equal(decoded(gpt, "bf16", weights="lent"), decoded(gpt, "bf16"))
    rounded = network().eval()
    for layer in linear_layers(rounded):
        layer.bfloat16()
    assert copied_bytes(rounded, "fp32") == 4 * numbers
    assert torch.equal(decoded(rounded, weights="lent"), decoded(rounded))


def test_a_model_with_a_window_keeps_its_weights_which_longer_texts_are_read_with() -> None:
    size = LlamaSize(
        layers=2, heads=2, width=32, context=64, kv_heads=1, head_width=16, mlp_width=48, window=12, windowed=(0,)
    )
    gpt = LanguageModel(Llama(size, ENCODING.n_vocab))
    gpt.initialise(3)
    config = GenerationConfig(max_new_tokens=6, precision="fp32")
    prompts = [[5, 6, 7], list(range(20))]
    assert weights_bytes(gpt, "fp32") == 2 * sum(each.nbytes for each in gpt.parameters())
    kept, taken = (
        list(answer_batches(gpt, ENCODING, TEMPLATES["alpaca"], prompts, config, weights=use)) for use in USES
    )
    assert kept == taken
    assert all(layer.weight is not None for layer in linear_layers(gpt))


@pytest.mark.ci
def test_a_network_of_real_size_says_the_same_within_1e_4_and_in_bf16_nearly_so() -> None:
    gpt = LanguageModel(GPT2(SIZES["124M"].model_copy(update={"layers": 3}), END + 1))
    gpt.initialise(4)
    rows = [[7, 8, *torch.arange(number, number + 30).tolist()] for number in range(4)]
    expected = plain(gpt, rows)
    assert torch.allclose(decoded(gpt, "fp32", rows), expected, atol=1e-4)
    found = decoded(gpt, "bf16", rows)
    assert found.dtype == torch.bfloat16
    assert (found.float() - expected).abs().max() < 0.02 * expected.abs().max()


def test_numbers_of_half_the_length_stay_near() -> None:
    gpt = network()
    expected, found = plain(gpt), decoded(gpt, "bf16").float()
    assert (found - expected).abs().mean() < 0.05 * expected.abs().mean()


def test_what_is_asked_for_holds_within_autocast_and_for_weights_that_are_rounded_already() -> None:
    gpt = network()
    expected = decoded(gpt)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(decoded(gpt), expected)
    rounded = network().bfloat16()
    assert torch.allclose(decoded(rounded), plain(rounded.float()), atol=1e-3, rtol=1e-4)


def test_adapters_are_merged_and_dropout_is_left_out() -> None:
    gpt = network()
    targets = ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]
    config = LoraConfig(rank=4, alpha=8, dropout=0.5, targets=targets)
    add_adapters(gpt.transformer, config, seed=1)
    for name, parameter in gpt.named_parameters():
        if name.endswith("lora_b"):
            nn.init.normal_(parameter, std=0.1)
    expected = plain(gpt.eval())
    assert not torch.allclose(expected, plain(network()), atol=0.1)
    assert torch.allclose(decoded(gpt.train()), expected, atol=1e-3, rtol=1e-4)
