"""A family that shares nothing with GPT-2, in one class a block: every way to run a network runs it too.

Rotary positions, RMS norms, fewer key-value heads than heads, a gated feed-forward network, no biases.
"""

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.core.errors import ConfigError
from components.generation.cache import Reader, read_anew
from components.generation.decoder import Decoder
from components.models.architecture import Block, Transformer, WeightNames, architectures, make_network
from components.models.classifier import Classifier
from components.models.config import SIZES, GPTSize, LoraConfig, Pooling
from components.models.fast.prepared import prepared
from components.models.fast.states import States
from components.models.fast.tail import finish
from components.models.fast.trunk import Trunk
from components.models.fast.unpadded import hidden_states, places_to_compute
from components.models.language_model import LanguageModel
from components.models.layers import Embedding, Linear, init_normal_
from components.models.lora import add_adapters, merge_adapters
from components.models.padding import pad
from components.models.sizes import LlamaSize
from components.models.weights import load_weights, save_weights


class OtherSize(GPTSize):
    """Two heads share their keys and values."""

    @property
    def kv_heads(self) -> int:
        return self.heads // 2


class OtherBlock(Block):
    def __init__(self, size: OtherSize, dropout: float) -> None:
        super().__init__(dropout)
        self.size = size
        kept = size.kv_heads * size.head_width
        self.norm_1, self.norm_2 = nn.RMSNorm(size.width, 1e-5), nn.RMSNorm(size.width, 1e-5)
        self.q, self.o = (Linear(size.width, size.width, bias=False) for _ in range(2))
        self.k, self.v = (Linear(size.width, kept, bias=False) for _ in range(2))
        self.gate, self.up = (Linear(size.width, 2 * size.width, bias=False) for _ in range(2))
        self.down = Linear(2 * size.width, size.width, bias=False)

    def norms(self) -> tuple[nn.Module, nn.Module]:
        return self.norm_1, self.norm_2

    def project(self, x: Tensor, positions: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        places = torch.arange(x.shape[1]) if positions is None else positions
        heads = [
            layer(x).unflatten(2, (-1, self.size.head_width)).transpose(1, 2) for layer in (self.q, self.k, self.v)
        ]
        query, key, value = heads
        return turned(query, places), turned(key, places), value

    def merge(self, seen: Tensor) -> Tensor:
        return self.o(seen.transpose(1, 2).flatten(2))

    def feed(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


def turned(heads: Tensor, positions: Tensor) -> Tensor:
    """Turn pairs of numbers by their positions (Su et al., "RoFormer", 2021)."""
    half = heads.shape[-1] // 2
    angle = positions[..., None, :, None] * 100.0 ** -(torch.arange(half) / half)
    one, other = heads.float().chunk(2, dim=-1)
    pair = (one * angle.cos() - other * angle.sin(), one * angle.sin() + other * angle.cos())
    return torch.cat(pair, dim=-1).to(heads.dtype)


class Other(Transformer):
    name = "other"
    shape = OtherSize
    attention = ("q", "v")
    feed_forward = ("up",)
    names = WeightNames(prefix="model.", embedding="embed_tokens", blocks="layers", final_norm="norm")

    def __init__(self, size: OtherSize, vocab_size: int, dropout: float = 0.0) -> None:
        super().__init__(size, vocab_size, dropout)
        self.embed_tokens = Embedding(vocab_size, size.width)
        self.layers = nn.ModuleList([OtherBlock(size, dropout) for _ in range(size.layers)])
        self.norm = nn.RMSNorm(size.width, 1e-5)

    def embed(self, tokens: Tensor, positions: Tensor) -> Tensor:  # noqa: ARG002
        return self.embed_tokens(tokens).float()

    def initialise(self, seed: int) -> None:
        for name, parameter in self.named_parameters():
            init_normal_(parameter, 0.3, seed, name)


SIZE = OtherSize(layers=3, heads=4, width=32, context=64)
VOCAB_SIZE = 50
ROWS = [[5, 3, 9], [7], list(range(1, 41)), [8, 8, 1, 40, 2], list(range(3, 20))]


@pytest.fixture
def network() -> Other:
    made = Other(SIZE, VOCAB_SIZE)
    made.initialise(1)
    return made.eval()


def test_positions_and_heads_matter(network: Other) -> None:
    tokens = torch.tensor([[3, 3, 3, 4]])
    moved = network(tokens, positions=torch.tensor([[0, 5, 9, 11]]))
    assert (network(tokens) - moved).abs().max() > 0.01
    assert network.blocks[0].project(torch.randn(1, 4, 32), None)[1].shape == (1, 2, 4, 8)


@pytest.mark.parametrize("recompute", [False, True])
def test_without_padding_states_and_gradients_are_the_same(network: Other, recompute: bool) -> None:
    tokens, lengths = pad(ROWS, 0)
    places = places_to_compute(lengths, tokens.shape[1])
    assert places is not None
    network.recompute = recompute
    found = []
    for hidden in (network(tokens), hidden_states(network, tokens, places)):
        network.zero_grad()
        last = hidden[torch.arange(len(ROWS)), lengths - 1]
        last.square().sum().backward()
        found.append([last, *(each.grad for each in network.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-4)


@pytest.mark.ci
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("pooling", ["last_token", "first_token", "mean"])
@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_from_cached_features_logits_are_the_same(network: Other, pooling: Pooling, causal: bool, blocks: int) -> None:
    model = Classifier(network, 3, pooling, seed=1, causal=causal).eval()
    tokens, lengths = pad(ROWS, 0)
    expected = model(tokens, lengths)
    values = Trunk(deepcopy(network), blocks, torch.device("cpu"), "fp32")(tokens, lengths, causal)
    flat = torch.cat([value[:length] for value, length in zip(values, lengths, strict=True)])
    states = States(flat, np.concatenate([[0], lengths.cumsum(0).numpy()]), blocks)
    found = finish(model, *states.batch(range(len(ROWS))), blocks)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_prepared_in_bf16_it_is_near(network: Other) -> None:
    x = torch.randn(2, 9, 32, generator=torch.Generator().manual_seed(1))
    expected, found = network.blocks[0](x), prepared(network.blocks[0], torch.bfloat16)(x)
    assert (found - expected).abs().mean() < 0.02 * expected.abs().mean()


@pytest.mark.parametrize("shared", [0, 6])
def test_with_a_key_value_cache_it_says_the_same(network: Other, shared: int) -> None:
    model = LanguageModel(network, tie_embeddings=False)
    model.initialise(2)
    rows = [[*range(shared), *row] for row in ROWS]
    reader = Reader(Decoder(model, "fp32"), rows)
    for turn in range(3):
        expected = read_anew(model, rows)
        torch.testing.assert_close(reader.logits, expected, atol=1e-3, rtol=1e-3)
        rows = [[*row, turn] for row in rows]
        reader.read(torch.tensor([row[-1] for row in rows]))


def test_its_weights_are_saved_and_loaded_by_their_names(network: Other, tmp_path: Path) -> None:
    save_weights(LanguageModel(network), tmp_path / "model.safetensors")
    again = Other(SIZE, VOCAB_SIZE)
    load_weights(again, tmp_path)
    assert torch.equal(again.eval()(torch.tensor([[1, 2]])), network(torch.tensor([[1, 2]])))


def test_a_size_says_which_family_it_is_of() -> None:
    assert architectures().keys() == {"gpt2", "llama", "bert", "roberta", "modernbert", "deberta"}
    assert make_network(SIZES["124M"].model_copy(update={"layers": 1, "width": 24}), 50).name == "gpt2"


def test_every_token_is_multiplied_with_the_weights_of_linear_layers(network: Other) -> None:
    assert network.products() == 3 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64)


@pytest.mark.parametrize(
    "size",
    [
        GPTSize(layers=3, heads=2, width=32, context=64),
        LlamaSize(layers=3, heads=4, kv_heads=2, head_width=16, width=32, mlp_width=48, context=64),
    ],
)
def test_a_size_knows_how_many_weights_that_are(size: GPTSize | LlamaSize) -> None:
    assert size.products == make_network(size, 10).products()


def test_its_own_layers_get_adapters_and_no_others(network: Other) -> None:
    tokens, expected = torch.tensor([[1, 2, 3]]), network(torch.tensor([[1, 2, 3]]))
    with pytest.raises(ConfigError, match=r"no k; lora.targets can be .*q, v, up"):
        add_adapters(network, LoraConfig(targets=["q", "k"]), seed=1)
    add_adapters(network, LoraConfig(rank=2, alpha=2.0, targets="attention"), seed=1)
    for name, parameter in network.named_parameters():
        if name.endswith("lora_b"):
            nn.init.normal_(parameter)
    adapted = network(tokens)
    assert (adapted - expected).abs().max() > 0.01
    x = network.embed(tokens, torch.arange(3))
    prepared_block = prepared(network, torch.float32).blocks[0]
    torch.testing.assert_close(prepared_block(x), network.blocks[0](x), atol=1e-4, rtol=1e-4)
    merge_adapters(network)
    torch.testing.assert_close(network(tokens), adapted, atol=1e-4, rtol=1e-4)
